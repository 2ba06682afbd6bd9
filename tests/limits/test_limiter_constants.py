"""The limiter's constants are told apart and explained: in the source, and on the page."""

from __future__ import annotations

from pathlib import Path

from benchmarks.limiter_constants import constants

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


def test_each_constant_is_on_the_page_as_it_is() -> None:
    """Name, value, unit and meaning."""
    page = PAGE.read_text()
    listed = list(constants())
    for one in listed:
        row = f"| `{one.module}.{one.name}` | `{one.value}` | {one.unit} | {one.meaning} |"
        assert row in page, row
    assert page.count("| `limiter._") + page.count("| `search._") > 30
    assert len({(one.module, one.name) for one in listed}) == len(listed)
