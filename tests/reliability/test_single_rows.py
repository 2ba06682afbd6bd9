"""One row that is refused for ever while others are answered: it fails, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from virtual_engine import open_stage

import distilabel_endpoints
from distilabel_endpoints.errors import RunError
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.testing import Action, Fault, Latency, Respond, Rewrite, edits
from virtual import Library

ROWS, PLACE = 10, 5
MARKER = "question number 5"
LIBRARIES = get_args(Library)
REFUSALS: Mapping[str, tuple[Action, str]] = {
    **{str(status): (Respond(status, {"error": "not for this one"}), code) for status, code in (
        (403, "forbidden"), (404, "not_found"), (405, "not_found"), (410, "not_found"),
        (451, "forbidden"), (501, "unsupported"), (503, "starting"),
    )},
    "a redirect": (Respond(302, headers=(("Location", "/login"),)), "redirect"),
    "a firewall": (
        Respond(403, "<html><title>Blocked | Cloudflare</title>", content_type="text/html"),
        "blocked",
    ),
    "moderated": (Respond(403, {"error": {"message": "input was flagged"}}), "content_filter"),
    "no such input": (
        Respond(404, {"error": {"message": "No endpoints found that support image input"}}),
        "unsupported_input",
    ),
    "too large a minute": (
        Respond(429, {"error": {"message": "Request too large: Limit 6000, Requested 12000"}}),
        "too_large",
    ),
    "403 in a 200": (Rewrite(edits.error_body(403, "not for this one")), "forbidden"),
    "404 in a 200": (Rewrite(edits.error_body(404, "not for this one")), "not_found"),
    "501 in a 200": (Rewrite(edits.error_body(501, "not for this one")), "unsupported"),
}  # fmt: skip


def inputs() -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": f"question number {n}"}] for n in range(ROWS)]


def refusing(action: Action) -> dict[str, Any]:
    return {"faults": (Fault(action, marker=MARKER),), "latency": Latency(0.5)}


@pytest.mark.parametrize(
    ("name", "library", "stream"), [*product(REFUSALS, LIBRARIES, (False, True))]
)
def test_a_call_has_one_failed_row(
    name: str, library: Library, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through both clients, whole and streamed: nine answers, and one failure with its code."""
    action, code = REFUSALS[name]
    fields = {"stream": stream, "wait_ready": 30.0}
    with open_stage(monkeypatch, library, fields, **refusing(action)) as stage:
        outputs = stage.llm.generate_outputs(inputs())
        failed = [n for n, output in enumerate(outputs) if output["errors"][0]]
        assert failed == [PLACE]
        error = outputs[PLACE]["errors"][0]
        assert error is not None
        assert (error.failure.kind, error.failure.code) == (FailureKind.ROW, code)


@pytest.mark.parametrize("library", LIBRARIES)
def test_several_choices_fail_together(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """With n > 1 the row has as many failures, and the others as many answers."""
    with open_stage(monkeypatch, library, {}, **refusing(REFUSALS["403"][0])) as stage:
        outputs = stage.llm.generate_outputs(inputs(), num_generations=3)
        for n, output in enumerate(outputs):
            assert [error is not None for error in output["errors"]] == [n == PLACE] * 3


@pytest.mark.parametrize("name", ["403", "404", "503", "a redirect"])
def test_a_run_goes_on_and_writes_its_output(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It finishes with one failed row. Resumed, that row alone is asked for, and fails again."""
    rows, output = [{"prompt": row[0]["content"]} for row in inputs()], tmp_path / "out.jsonl"
    fields = {"wait_ready": 30.0}
    with open_stage(monkeypatch, "openai", fields, **refusing(REFUSALS[name][0])) as stage:
        for _ in range(2):
            before = stage.requests
            done = distilabel_endpoints.generate_dataset(
                stage.llm, rows, output, progress=open_progress("quiet")
            )
            assert (done.summary.ok, done.summary.failed) == (ROWS - 1, 1)
        assert 1 <= stage.requests - before <= 60
    written = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [bool(row["error"]) for row in written] == [n == PLACE for n in range(ROWS)]


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (402, "no_credit")])
def test_a_resumed_run_stops_if_its_key_or_credit_is_gone(
    status: int, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also if one row is left: it is not recorded as refused, and the next resume answers it."""
    rows, output = [{"prompt": row[0]["content"]} for row in inputs()], tmp_path / "out.jsonl"
    faults = (
        Fault(Respond(500), marker=MARKER, times=5),
        Fault(Respond(status, {"error": "not with this account"}), marker=MARKER),
    )
    with open_stage(monkeypatch, "openai", {}, faults=faults, latency=Latency(0.5)) as stage:
        quiet = open_progress("quiet")
        done = distilabel_endpoints.generate_dataset(stage.llm, rows, output, progress=quiet)
        assert (done.summary.ok, done.summary.failed) == (ROWS - 1, 1)
        with pytest.raises(RunError) as stopped:
            distilabel_endpoints.generate_dataset(stage.llm, rows, output, progress=quiet)
        assert stopped.value.failure.code == code
        assert stopped.value.failure.hint
        stage.endpoint.clear_faults()
        done = distilabel_endpoints.generate_dataset(stage.llm, rows, output, progress=quiet)
        assert (done.summary.ok, done.summary.failed) == (ROWS, 0)


def test_a_row_that_costs_more_than_is_left_stops_no_resumed_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each resume asks for it and finishes; with more credit it is answered."""
    rows, output = [{"prompt": row[0]["content"]} for row in inputs()], tmp_path / "out.jsonl"
    words = "You requested up to 16384 tokens, but can only afford 3919."
    action = Respond(402, {"error": {"message": words, "code": 402}})
    with open_stage(monkeypatch, "openai", {}, **refusing(action)) as stage:
        quiet = open_progress("quiet")
        for _ in range(3):
            done = distilabel_endpoints.generate_dataset(stage.llm, rows, output, progress=quiet)
            assert (done.summary.ok, done.summary.failed) == (ROWS - 1, 1)
        written = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        assert "can only afford 3919" in written[PLACE]["error"]
        stage.endpoint.clear_faults()
        done = distilabel_endpoints.generate_dataset(stage.llm, rows, output, progress=quiet)
        assert (done.summary.ok, done.summary.failed) == (ROWS, 0)
