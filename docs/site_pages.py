"""Hooks of the documentation's site: pages made from the code, and pages that need no line.

A page in this folder that `mkdocs.yml` does not name is listed under Guides. A link to a file of
the repository becomes the word alone on the site, with the file as its title.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
_OUTSIDE = re.compile(r'\[([^\]]+)\]\((\.\./[^)\s"]+)(?: "([^"]*)")?\)')


def on_config(config: Any) -> Any:
    """List the pages that `nav` does not name under Guides."""
    named = set(re.findall(r"[\w/-]+\.md", str(config.nav)))
    guides = next(part["Guides"] for part in config.nav if "Guides" in part)
    guides += sorted(path.name for path in DOCS.glob("*.md") if path.name not in named)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from the code."""
    from mkdocs.structure.files import File

    pages = runpy.run_path(str(DOCS / "reference_pages.py"))["PAGES"]
    for name, make in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Words in the place of links to files that are not part of the site."""
    return _OUTSIDE.sub(_word, markdown)


def _word(match: re.Match[str]) -> str:
    text, path, title = match.groups()
    if not (DOCS / path.partition("#")[0]).exists():
        raise ValueError(f"{match[0]} leads nowhere")
    shown = f"{path.removeprefix('../')} {title or ''}".strip()
    return f'<span title="{shown}">{text}</span>'
