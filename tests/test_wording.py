"""What a person reads is in plain words: some phrases are not written in the pages and the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = (
    "*.md",
    "docs/*.md",
    ".github/**/*.yml",
    "src/**/*.py",
    "tests/**/*.py",
    "benchmarks/*.py",
)
READ = sorted({path for place in PLACES for path in ROOT.glob(place)} - {Path(__file__)})
INSTEAD = {
    r"\b[Mm]end(s|ed|ing)?\b": "fix",
    r"\b(run|job) goes on\b|goes on where|gone on with": "resumes, continues",
    r"(?<!here )\b(is|was|are|were) no (?!longer\b|more\b)[a-z]": "is not a ...",
    r"files a row|condemns": "records a row as failed; ends",
}


@pytest.mark.parametrize("phrase", INSTEAD)
def test_a_phrase_is_not_used(phrase: str) -> None:
    """Somebody whose second language is English understands each sentence at once."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in READ
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(phrase, line)
    ]
    assert found == [], f"write: {INSTEAD[phrase]}"
