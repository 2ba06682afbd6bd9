"""ARCHITECTURE.md says what is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()


def test_the_list_of_rooms_is_the_tree() -> None:
    """Every module once, with its own first sentence; else run `python docs/rooms_page.py`."""
    made = runpy.run_path(str(ROOT / "docs" / "rooms_page.py"))
    listed = PAGE.partition(made["START"])[2].partition(made["END"])[0]
    assert listed == made["listed"]()


def test_the_files_of_the_page_exist() -> None:
    """A file that is named in the text is there."""
    package = ROOT / "src" / "distilabel_endpoints"
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    missing = [
        name
        for name in sorted(named)
        if not (package / name).exists()
        and not (ROOT / name).exists()
        and not list(package.rglob(name))
        and not list((ROOT / "docs").rglob(name))
    ]
    assert missing == []
