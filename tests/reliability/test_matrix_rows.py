"""No row of the failure matrix is without a proof."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from matrix import CASES, ELSEWHERE, ROWS

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_proven(row: str) -> None:
    """By a case of the table, or by tests elsewhere that are there."""
    cases = [name for name, case in CASES.items() if case.row == row]
    assert cases or row in ELSEWHERE
    for node in ELSEWHERE.get(row, ()):
        path, _, name = node.partition("::")
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        assert name in {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}, node


def test_no_case_is_of_a_row_that_is_none() -> None:
    """A row that is renamed takes its cases along."""
    assert {case.row for case in CASES.values()} | set(ELSEWHERE) == set(ROWS)
    assert len(set(ROWS)) == len(ROWS)
