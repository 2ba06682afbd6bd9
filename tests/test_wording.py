"""What a person reads is in plain words: some phrases are not written in the pages and the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READ = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/**/*.py")])
INSTEAD = {
    r"how to mend|mend (it|them|the)\b": "fix",
    r"goes on where (it|an)\b": "resumes where ... stopped",
    r"gone on with": "resumed",
    r"\b(is|was) no (name|class|file|number|UTF-8)\b": "is not a ...",
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
