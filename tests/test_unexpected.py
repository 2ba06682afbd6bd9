"""A defect of ours: one sentence, a report without values, an exit code of its own."""

from __future__ import annotations

import json
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints._store.journal.database import Database
from distilabel_endpoints.cli import commands, main
from distilabel_endpoints.errors import ConfigurationError, LockedError
from distilabel_endpoints.progress.sinks import PlainProgress
from distilabel_endpoints.testing import Latency, SimulatedEndpoint
from distilabel_endpoints.unexpected import report_unexpected

SECRET = "s3cr3t prompt"
Command = Callable[..., tuple[int, str]]


def nested(prompt: str) -> None:
    """A group in a group, as task groups raise them; every message quotes the prompt."""
    try:
        raise KeyError(prompt)
    except KeyError as error:
        inner = ExceptionGroup(prompt, [AttributeError("'Handle' has no 'when'"), error])
        raise ExceptionGroup(prompt, [inner]) from ValueError(prompt)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`status OUTPUT`, whose work raises what it is given."""

    def command(output: Path, work: Callable[[], object]) -> tuple[int, str]:
        monkeypatch.setattr(commands.commands["status"], "callback", lambda **_: work())
        monkeypatch.setattr(sys, "argv", ["distilabel-endpoints", "status", str(output)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err

    return command


def test_a_defect_is_one_sentence_and_a_report(command: Command, tmp_path: Path) -> None:
    """Exit 70; the report is its owner's, shows where, and quotes no value."""
    output = tmp_path / "out.jsonl"
    code, shown = command(output, lambda: nested(SECRET))
    report = tmp_path / "out.jsonl.error.txt"
    assert code == 70
    assert shown.startswith("Error: Unexpected AttributeError")
    assert len(shown.splitlines()) == 1
    assert str(report) in shown
    assert "run the same command again" in shown
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    text = report.read_text()
    assert "'Handle' has no 'when'" in text
    assert text.count("KeyError: (message left out)") == 1
    assert "line " in text
    assert SECRET not in text + shown


def test_where_no_report_can_stand_beside_the_output(command: Command, tmp_path: Path) -> None:
    """It goes to the folder for temporary files, and the message names it."""
    code, shown = command(tmp_path / "gone" / "out.jsonl", lambda: nested(SECRET))
    path = Path(shown.rpartition(": ")[2].strip().removesuffix("."))
    assert code == 70
    assert "KeyError" in path.read_text()
    path.unlink()


def test_a_group_of_our_own_errors_is_no_defect(command: Command, tmp_path: Path) -> None:
    """The first of them is shown, with its own exit code and no report."""

    def work() -> None:
        raise ExceptionGroup("", [ExceptionGroup("", [LockedError("in use")])])

    code, shown = command(tmp_path / "out.jsonl", work)
    assert (code, shown) == (5, "Error: in use\n")
    assert list(tmp_path.iterdir()) == []

    def mixed() -> None:
        raise ExceptionGroup("", [ConfigurationError("wrong"), KeyError("k")])

    assert command(tmp_path / "out.jsonl", mixed)[0] == 70


def test_a_chain_without_an_end_is_cut() -> None:
    """Causes that go in a circle do not hang the report."""
    first, second = KeyError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    path = Path(report_unexpected(first, None).rpartition(": ")[2].removesuffix("."))
    assert 0 < len(path.read_text()) < 10_000
    path.unlink()


@pytest.mark.parametrize(
    ("room", "method", "name"),
    [(PlainProgress, "update", "KeyError"), (Database, "commit", "RuntimeError")],
    ids=["progress", "journal"],
)
def test_a_defect_in_another_thread(
    room: type,
    method: str,
    name: str,
    simulated_endpoint: Callable[..., SimulatedEndpoint],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """One sentence and a report as well, no traceback by Python's hook, and nothing is hidden."""
    right = getattr(room, method)

    def wrong(*arguments: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return right(*arguments)
        raise KeyError(SECRET)

    monkeypatch.setattr(PlainProgress, "interval", 0.001)
    monkeypatch.setattr(room, method, wrong)
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text(json.dumps({"prompt": "Hello"}))
    endpoint = simulated_endpoint(latency=Latency(0.2))
    words = ["generate", str(rows), "-o", str(output), "--base-url", endpoint.url]
    monkeypatch.setattr(sys, "argv", ["distilabel-endpoints", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().err
    (error,) = (line for line in shown.splitlines() if line.startswith("Error"))
    assert ended.value.code == 70
    assert error.startswith(f"Error: Unexpected {name}")
    report = (tmp_path / "out.jsonl.error.txt").read_text()
    assert "KeyError: (message left out)" in report
    assert "in wrong" in report
    assert "Traceback" not in shown
    assert SECRET not in shown + report
