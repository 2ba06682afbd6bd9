"""Every failure an endpoint can serve, through both clients: all that follows from it.

`test_wire.py` has what one attempt becomes; here is what the whole run does then, with the class
and the function that users call. What a run leaves in its journal is read back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from matrix import CASES, Case
from virtual_engine import Stage, open_stage

import distilabel_endpoints
from distilabel_endpoints import cli
from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints.errors import RunError
from distilabel_endpoints.llms.outputs import Output
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.records import Failure, Result
from distilabel_endpoints.runs import read_status
from virtual import Library

LIBRARIES = get_args(Library)
EXIT = {"ok": 0, "failed": 2, "stopped": 3}
EACH = [
    pytest.param(case, library, id=f"{name}-{library}")
    for name, case in CASES.items()
    for library in LIBRARIES
]
RUNS = [
    pytest.param(*each.values, id=each.id, marks=[pytest.mark.prove] if (n // 2 + n) % 2 else [])
    for n, each in enumerate(EACH)
]
"""Every case by one of the two clients, in turns; by the other one in `make prove`."""


def question(number: int) -> str:
    return f"Say hello to number {number}, and to nobody else"


def check_failure(case: Case, failure: Failure) -> None:
    """What a person is told, and what it is filed as."""
    told = failure.describe()
    assert f"{failure.kind} {failure.code}" == case.said, told
    assert not [words for words in case.sees if words not in told], told
    assert case.attempts in {None, failure.attempts}
    assert (failure.text is not None) == case.keeps_text
    assert "Say hello" not in told


def check_answer(case: Case, text: str | None, finish: str | None) -> None:
    """What came through."""
    assert text
    assert not [words for words in case.texts if words not in text], text
    assert case.finish in {"", finish}


def check_wire(case: Case, stage: Stage) -> None:
    """How often the endpoint was asked, and for how long."""
    least, most = case.requests
    assert least <= stage.requests <= most, stage.requests
    ends = [record.end for record in stage.endpoint.generations if record.end is not None]
    least, most = case.seconds
    assert least <= max(ends, default=0) <= most + 0.01, max(ends, default=0)


@pytest.mark.promise("R4")
@pytest.mark.parametrize(("case", "library"), EACH)
def test_a_call_ends_as_the_matrix_says(
    case: Case, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`generate_outputs`: one entry a row with its failure, or the one error of the run."""
    with open_stage(monkeypatch, library, dict(case.fields), **case.server) as stage:
        stopped, outputs = None, list[Output | None]()
        inputs = [[{"role": "user", "content": question(n)}] for n in range(case.rows)]
        try:
            outputs = [*stage.llm.generate_outputs(inputs)]
        except RunError as error:
            stopped, outputs = error, error.outputs
        assert (stopped is not None) == (case.ends == "stopped"), stopped
        if stopped is not None:
            assert type(stopped).__name__ == case.error
            check_failure(case, stopped.failure)
        errors = [output["errors"][0] for output in outputs if output]
        for found in errors:
            assert (found is not None) == (case.ends == "failed"), found
            if found is not None:
                check_failure(case, found.failure)
        for output in outputs:
            if output and case.ends != "failed":
                check_answer(case, output["generations"][0], output["finish_reasons"][0])
                assert ("utf8_replaced" in output) == bool(case.notes)
        assert len(errors) == (case.done if stopped else case.rows)
        check_wire(case, stage)


@pytest.mark.promise("R4")
@pytest.mark.parametrize(("case", "library"), RUNS)
def test_a_run_leaves_what_the_matrix_says(
    case: Case, library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`generate_dataset`: the exit code, the journal, the output; a stopped run files no row."""
    rows = [{"prompt": question(n)} for n in range(case.rows)]
    output = tmp_path / "out.jsonl"
    with open_stage(monkeypatch, library, dict(case.fields), **case.server) as stage:
        try:
            done = distilabel_endpoints.generate_dataset(
                stage.llm, rows, output, progress=open_progress("quiet")
            )
            code = done.summary.exit_code
            assert done.summary.truncated == case.truncated
        except RunError as error:
            code = cli._exit_code(error)
            check_failure(case, error.failure)
        assert code == EXIT[case.ends]
        check_wire(case, stage)
    results = journal_of(output)
    assert len(results) == (case.done if case.ends == "stopped" else case.rows)
    for result in results:
        assert (result.status == "failed") == (case.ends == "failed")
        for failure in filter(None, result.failures):
            check_failure(case, failure)
    if case.ends == "ok":
        check_output(case, output)
    status = read_status(output)
    assert status.pending == case.rows - len(results)
    assert output.exists() == (case.ends != "stopped")


def check_output(case: Case, output: Path) -> None:
    """What a row says beside its answer."""
    for line in output.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        check_answer(case, row["generation"], row["finish_reason"])
        assert bool(row["error"]) == bool(case.notes)
        assert not [words for words in case.notes if words not in row["error"]]


def journal_of(output: Path) -> list[Result]:
    with Reader(output) as reader:
        return [record.result for record in reader.results()]
