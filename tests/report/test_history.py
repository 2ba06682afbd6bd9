"""A run's history: bounded, readable again, and of no harm when it is damaged."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints._store.history import (
    MOST_CHANGES,
    MOST_SAMPLES,
    Change,
    History,
    Sample,
    history_path,
)
from distilabel_endpoints.records import Answer, Completion, Usage
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, TokenCount
from distilabel_endpoints.runs.recorder import Recorder
from distilabel_endpoints.served import Served


def sample(at: float, done: int = 0) -> Sample:
    return Sample(at=at, part=0, limit=8, in_flight=8, done=done, failed=0, output_tokens=done * 10)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5000))
def test_a_long_run_keeps_few_samples(seconds: int) -> None:
    """However long it is; the first and the last are among them, in order."""
    history = History()
    for second in range(seconds):
        if history.is_due(float(second)):
            history.add(sample(float(second), second))
    assert len(history.samples) <= MOST_SAMPLES
    times = [entry.at for entry in history.samples]
    assert times == sorted(set(times))
    assert times[0] <= history.spacing
    assert seconds - 1 - times[-1] <= history.spacing


def test_many_changes_lose_those_of_the_middle() -> None:
    """How a run began, and what happened last, stays."""
    history = History()
    for n in range(5 * MOST_CHANGES):
        history.note(Change(float(n), "limit", str(n)))
    assert len(history.changes) == MOST_CHANGES
    assert history.changes[0].text == "0"
    assert history.changes[-1].text == str(5 * MOST_CHANGES - 1)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And is its owner's alone."""
    output = tmp_path / "answers.jsonl"
    history = History()
    history.begin(100.0)
    history.add(sample(101.0, 5))
    served = Served()
    answer = Answer(
        completions=(Completion(text="x"),), usage=Usage(3, 4), provider="p", first_token=0.1
    )
    served.add(answer, 0.5)
    history.served = {("http://one", "p"): served}
    history.write(output)
    again = History.read(output)
    assert (again.samples, again.changes, again.begun) == (
        history.samples,
        history.changes,
        history.begun,
    )
    assert again.served[("http://one", "p")].to_json() == served.to_json()
    assert stat.S_IMODE(history_path(output).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 2}', "[" * 100_000])
def test_what_is_damaged_is_begun_anew(tmp_path: Path, text: str) -> None:
    """No history is worth a run."""
    output = tmp_path / "answers.jsonl"
    history_path(output).write_text(text)
    assert History.read(output).samples == []


def snapshot(done: int, *, phase: RunPhase = RunPhase.RUNNING, resumed: int = 0) -> RunSnapshot:
    return RunSnapshot(
        elapsed=1.0,
        phase=phase,
        ok=done,
        resumed=resumed,
        limit=8,
        limit_reason="start",
        run_tokens=TokenCount(output_tokens=done),
    )


def test_nothing_is_written_before_rows_are_sent(tmp_path: Path) -> None:
    """A command that is refused, or waits for the lock, leaves no trace."""
    recorder = Recorder(tmp_path / "out.jsonl")
    recorder.observe(snapshot(0, phase=RunPhase.SCANNING))
    recorder.close(snapshot(0, phase=RunPhase.SCANNING))
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_goes_on_with_its_history(tmp_path: Path) -> None:
    """A run that is begun anew does not take the old one's for its own."""
    output = tmp_path / "out.jsonl"
    for done, resumed, parts in ((5, 0, 1), (9, 5, 2), (3, 0, 1)):
        recorder = Recorder(output)
        recorder.observe(snapshot(done, resumed=resumed))
        recorder.note("alarm", "something")
        recorder.close(snapshot(done + 1, resumed=resumed))
        history = History.read(output)
        assert len(history.begun) == parts
        assert history.samples[-1].done == done + 1
        assert [change.kind for change in history.changes].count("alarm") == parts


def test_a_disk_that_takes_nothing_costs_the_history_only(tmp_path: Path) -> None:
    """The run itself does not notice."""
    output = tmp_path / "out.jsonl"
    history_path(output).mkdir()
    recorder = Recorder(output)
    recorder.observe(snapshot(1))
    recorder.close(snapshot(2))
