"""`docs/failures.md` is what its script makes of the table that classifies."""

from __future__ import annotations

import runpy
from pathlib import Path

from distilabel_endpoints._clients.rules import FAULTS, OTHER_RULES, RULES
from distilabel_endpoints.records import FailureKind

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "failures.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    """`python docs/failures_page.py` would change nothing."""
    made = runpy.run_path(str(DOCS / "failures_page.py"))["page"]()
    assert made == PAGE, "run: python docs/failures_page.py"


def test_every_class_and_code_is_on_it() -> None:
    """Nothing that the table can say is missing, nor how to fix it."""
    rules = [*RULES, *(rule for _, rule in OTHER_RULES)]
    assert all(f"| `{kind}` |" in PAGE for kind in FailureKind)
    assert all(f"| `{rule.code}` |" in PAGE for rule in rules)
    hints = [*(rule.hint for rule in rules), *(hint for _, hint in FAULTS.values())]
    assert all(hint in PAGE for hint in filter(None, hints))
