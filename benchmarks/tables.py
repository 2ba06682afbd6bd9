"""How figures are shown: tables in Markdown on stdout, and as marked sections of a page.

`docs/performance.md`, or another of `PAGES`, has `<!-- NAME -->` and `<!-- /NAME -->` for each
measurement; what is between them is what `python -m benchmarks NAME --write` printed last.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TextIO, TypeVar

__all__ = ["QUICK", "Bar", "note", "print_bars", "print_table", "size", "written"]

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "pipelines": "coming-from-distilabel.md",
    "ray_actors": "scale.md",
    "reliability": "reliability.md",
    "limiter_constants": "limits.md",
    "forecast": "costs.md",
    "alarms": "alarms.md",
}
"""Pages of measurements that are not on `performance.md`."""
QUICK = bool(os.environ.get("BENCH_QUICK"))
"""Everything as short as it can be, to see that it works; the figures mean nothing."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that is to be reached."""

    name: str
    what: str
    measured: float
    bar: float
    at_least: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.measured >= self.bar if self.at_least else self.measured <= self.bar


def size(full: T, quick: T) -> T:
    """`full`, or `quick` where `BENCH_QUICK` is set."""
    return quick if QUICK else full


def note(text: str) -> None:
    """Say how far it is, beside the tables."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    lines = [f"\n{title}\n", _line(heads), "|" + "---|" * len(heads), *map(_line, rows)]
    print("\n".join(lines), flush=True)


def print_bars(*bars: Bar) -> None:
    """Each target with what was measured."""
    rows = [
        (
            bar.name,
            bar.what,
            f"{'>=' if bar.at_least else '<='} {bar.bar:g} {bar.unit}".rstrip(),
            f"{bar.measured:.2f}",
            "met" if bar.met else "**not met**",
        )
        for bar in bars
    ]
    print_table("Targets", ("target", "what", "bar", "measured", ""), rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


class _Both(StringIO):
    """Keeps what is printed, and passes it on."""

    def __init__(self, shown: TextIO) -> None:
        super().__init__()
        self._shown = shown

    def write(self, text: str, /) -> int:
        self._shown.write(text)
        self._shown.flush()
        return super().write(text)


@contextmanager
def written(name: str) -> Iterator[None]:
    """What is printed inside also becomes the page's section of that name."""
    place = DOCS / PAGES.get(name, "performance.md")
    _around(place, name)
    both = _Both(sys.stdout)
    with redirect_stdout(both):
        yield
    # Read again: a measurement may take long, and the page may have changed meanwhile.
    before, after = _around(place, name)
    place.write_text(f"{before}{both.getvalue()}\n{after}", encoding="utf-8")


def _around(place: Path, name: str) -> tuple[str, str]:
    """The page up to a section's text, and from its end on."""
    before, mark, rest = place.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not mark or not end:
        sys.exit(f"{place} has no section {name!r}.")
    return before + mark, end + after
