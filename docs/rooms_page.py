"""Writes the list of rooms and modules in ARCHITECTURE.md from the modules' own first sentences.

    python docs/rooms_page.py

A test compares the page with the tree, so a module that is added, moved or renamed is on it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PAGE", "listed", "main"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
PACKAGE = ROOT / "src" / "distilabel_endpoints"
START, END = "<!-- rooms -->\n", "<!-- /rooms -->\n"


def listed() -> str:
    """The section between the marks."""
    return "\n".join(["```", *_package(PACKAGE, ""), "```", ""])


def _package(folder: Path, indent: str) -> Iterator[str]:
    yield _line(folder / "__init__.py", f"{indent}{folder.name}/")
    inner = f"{indent}  "
    modules = sorted(folder.glob("*.py"), key=lambda path: path.stem.lower())
    yield from (_line(path, inner + path.stem) for path in modules if path.stem != "__init__")
    for child in sorted(folder.iterdir()):
        if (child / "__init__.py").exists():
            yield from _package(child, inner)


def _line(path: Path, name: str) -> str:
    sentence = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
    return f"{name:24} {sentence}"


def main() -> None:
    """Write the section anew."""
    before, _, rest = PAGE.read_text().partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}{listed()}{END}{after}")


if __name__ == "__main__":
    main()
