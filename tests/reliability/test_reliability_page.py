"""`docs/reliability.md` names each promise, and beside it files whose tests are marked with it."""

from __future__ import annotations

import re

import pytest
from test_promises import RELIABILITY, SECURITY, TESTS, marks

PAGE = TESTS.parent / "docs" / "reliability.md"
ROW = re.compile(r"^\| ([RS]\d+) \| .+ \|(.+)\|$", re.MULTILINE)
NAMED = {
    name: set(re.findall(r"`(\S+\.py)`", files)) for name, files in ROW.findall(PAGE.read_text())
}


@pytest.fixture(scope="module")
def marked() -> set[tuple[str, str]]:
    """Every promise with every file that has a test of it."""
    return {
        (name, path.relative_to(TESTS).as_posix())
        for path in TESTS.rglob("test_*.py")
        for name, _, _ in marks(path)
    }


def test_every_promise_is_on_the_page() -> None:
    """No more and no less, in order."""
    assert list(NAMED) == [*RELIABILITY, *SECURITY]


@pytest.mark.parametrize("name", list(NAMED))
def test_the_page_names_files_that_prove_it(name: str, marked: set[tuple[str, str]]) -> None:
    """Each file that stands beside a promise has a test marked with it, and one does if any has."""
    proofs = {file for promise, file in marked if promise == name}
    assert NAMED[name] <= proofs
    assert bool(NAMED[name]) is bool(proofs)
