"""The displays: what goes to which stream, how often, and what happens when nobody reads."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import pty
import re
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from run_states import FINISHED, RUNNING, SNAPSHOTS, SUMMARIES
from run_terminal import FakeTerminal, screen_of

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.progress import Progress, ProgressMode, open_progress
from distilabel_endpoints.progress.events import event_line, finished_event, progress_event
from distilabel_endpoints.progress.notebook import NotebookProgress
from distilabel_endpoints.progress.outlet import Outlet
from distilabel_endpoints.progress.sinks import (
    JsonProgress,
    LineProgress,
    PlainProgress,
    QuietProgress,
)
from distilabel_endpoints.progress.terminal import TerminalProgress
from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, RunSummary, Waiting


def feed(progress: Progress, seconds: int, *, every: float = 0.25) -> None:
    """A run of so many seconds, with an update four times a second."""
    for step in range(int(seconds / every)):
        progress.update(replace(RUNNING, elapsed=step * every, ok=step))


def lines_over(seconds: int) -> list[float]:
    """The times of the lines a log gets from a run that long."""
    stream = io.StringIO()
    with open_progress("plain", stream=stream) as progress:
        feed(progress, seconds)
    stamps = re.findall(r"^\[(\d+):(\d+):(\d+)\]", stream.getvalue(), re.MULTILINE)
    return [int(hours) * 3600 + int(minutes) * 60 + int(s) for hours, minutes, s in stamps]


def test_a_log_gets_a_line_every_ten_seconds() -> None:
    """And no more: at once, then at 10, 20, 30 seconds."""
    assert lines_over(40) == [0, 10, 20, 30]


def test_a_long_run_is_logged_more_rarely() -> None:
    """Once a minute in the end, so that a night fits a page."""
    times = lines_over(5 * 3600)
    assert len(times) < 420
    assert all(10 <= later - earlier <= 61 for earlier, later in itertools.pairwise(times))


def test_a_change_is_logged_at_once() -> None:
    """A new phase, and a new state of waiting, do not wait for their turn."""
    stream = io.StringIO()
    with open_progress("plain", stream=stream) as progress:
        progress.update(replace(RUNNING, elapsed=100.0))
        progress.update(replace(RUNNING, elapsed=103.0, waiting=Waiting("throttled", 0.1)))
        progress.update(replace(RUNNING, elapsed=104.0, waiting=Waiting("throttled", 1.1)))
        progress.update(replace(RUNNING, elapsed=105.2))
        progress.update(replace(RUNNING, elapsed=105.3, phase=RunPhase.EXPORTING))
    lines = stream.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"[0:01:{s}]" for s in (40, 43, 45, 45)]
    assert lines[1].endswith("(throttled)")
    assert "exporting" in lines[3]


def test_a_state_that_flaps_does_not_flood_a_log() -> None:
    """A state that changes with every update makes a line every two seconds at most."""
    stream = io.StringIO()
    with open_progress("plain", stream=stream) as progress:
        for step in range(400):
            waiting = Waiting("throttled") if step % 2 else None
            progress.update(replace(RUNNING, elapsed=step / 4, waiting=waiting))
    assert len(stream.getvalue().splitlines()) <= 51


@pytest.mark.parametrize("mode", ["plain", "line", "rich"])
def test_messages_and_summary_are_shown(mode: str) -> None:
    """Every display for people shows remarks, and the summary at the end."""
    stream = FakeTerminal()
    with open_progress(mode, stream=stream) as progress:
        progress.message("resuming: 41,230 done\n12 re-sent")
        progress.update(RUNNING)
        progress.message("row 17: [bold]no\x1b[2Jt[/] done")
        progress.finish(FINISHED)
    screen = stream.screen()
    assert screen[:2] == ["resuming: 41,230 done", "12 re-sent"]
    assert "row 17: [bold]not[/] done" in screen
    assert "Finished: 10,000 rows ok, in 12 m 40 s." in screen
    assert screen[-1] == "Output     out.jsonl"


def test_the_live_block_is_redrawn_in_place() -> None:
    """Whatever was shown before, the screen ends with the messages and one block."""
    terminal = FakeTerminal()
    with TerminalProgress(Outlet(terminal)) as progress:
        for number, snapshot in enumerate(SNAPSHOTS.values()):
            progress.update(replace(snapshot, elapsed=float(number)))
            progress.message(f"remark {number}")
        progress.update(replace(RUNNING, elapsed=100.0))
        screen = terminal.screen()
    assert screen[: len(SNAPSHOTS)] == [f"remark {number}" for number in range(len(SNAPSHOTS))]
    assert [line.split()[0] for line in screen[len(SNAPSHOTS) :]] == ["running", "rows", "tokens"]
    assert terminal.screen() == screen[: len(SNAPSHOTS)]


def test_the_live_block_is_drawn_four_times_a_second_at_most() -> None:
    """A hundred updates within a second are four drawings or five; a new phase is one more."""
    terminal = FakeTerminal()
    with TerminalProgress(Outlet(terminal)) as progress:
        for step in range(100):
            progress.update(replace(RUNNING, elapsed=step / 100, ok=step))
        drawn = terminal.getvalue().count("running")
        progress.update(replace(RUNNING, elapsed=0.995, phase=RunPhase.DRAINING))
        assert "draining" in terminal.getvalue()
    assert 4 <= drawn <= 5


def test_nothing_new_is_not_drawn() -> None:
    """An unchanged block costs no byte."""
    terminal = FakeTerminal()
    waiting = replace(RUNNING, waiting=Waiting("throttled"))
    with TerminalProgress(Outlet(terminal)) as progress:
        progress.update(waiting)
        size = len(terminal.getvalue())
        progress.update(replace(waiting, elapsed=waiting.elapsed + 0.3))
        assert len(terminal.getvalue()) == size


def test_the_cursor_is_never_left_hidden() -> None:
    """A process that is killed while the block shows leaves the cursor visible."""
    terminal = FakeTerminal()
    with TerminalProgress(Outlet(terminal)) as progress:
        progress.update(RUNNING)
        written = terminal.getvalue()
        assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")


def test_nothing_is_shown_after_the_end() -> None:
    """A late update does not bring the block back."""
    for mode in ("rich", "line"):
        terminal = FakeTerminal()
        with open_progress(mode, stream=terminal) as progress:
            progress.update(RUNNING)
            progress.finish(FINISHED)
            size = len(terminal.getvalue())
            progress.update(replace(RUNNING, elapsed=999.0, ok=9_000))
            assert len(terminal.getvalue()) == size


def test_an_exception_takes_the_block_away() -> None:
    """A traceback starts on a clean line."""
    terminal = FakeTerminal()
    progress = TerminalProgress(Outlet(terminal))
    progress.update(RUNNING)
    with pytest.raises(RuntimeError), progress:
        raise RuntimeError
    assert terminal.screen() == []


def test_colours_mean_something_and_can_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are red where there is colour; `NO_COLOR` leaves none."""

    def written() -> str:
        terminal = FakeTerminal()
        with TerminalProgress(Outlet(terminal)) as progress:
            progress.update(RUNNING)
            progress.finish(SUMMARIES["stopped_by_endpoint"])
        return terminal.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m 12 failed" in written().replace("\x1b[31m  ", "\x1b[31m ")
    assert "\x1b[31mStopped by the endpoint" in written()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", written())


def test_a_long_path_is_broken_by_the_terminal_alone() -> None:
    """What is to be copied has no newline in it, on a terminal of any width."""
    path = "/data/" + "long/" * 60 + "out.jsonl"
    terminal = FakeTerminal()
    with TerminalProgress(Outlet(terminal)) as progress:
        progress.finish(replace(FINISHED, output=path))
    assert path in terminal.getvalue()


def test_warnings_appear_above_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others write to stderr does not tear the block."""
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with open_progress("rich") as progress:
        progress.update(RUNNING)
        sys.stderr.write("somebody's warning\n")
        screen = terminal.screen()
        progress.finish(FINISHED)
    assert [line.split()[0] for line in screen] == ["somebody's", "running", "rows", "tokens"]
    assert sys.stderr is terminal


def test_one_line_is_written_over() -> None:
    """A notebook sees one line, no escape sequence, and no rest of a longer one."""
    stream = io.StringIO()
    with LineProgress(Outlet(stream)) as progress:
        progress.update(replace(RUNNING, elapsed=1.0))
        progress.update(replace(RUNNING, elapsed=1.1, ok=0))
        progress.update(SNAPSHOTS["scanning"])
        shown = screen_of(stream.getvalue())
        progress.message("a remark")
        progress.update(replace(RUNNING, elapsed=9.0))
    written = stream.getvalue()
    assert "\x1b" not in written
    assert shown == ["scanning: 120,000 rows read"]
    assert written.count("running") == 2
    assert all(len(part) <= 79 for part in re.split(r"[\r\n]", written))
    assert screen_of(written) == ["a remark"]


def test_quiet_speaks_only_of_what_needs_doing() -> None:
    """Silence when all is well; the summary when something is to be done."""

    def written(summary: RunSummary) -> str:
        stream = io.StringIO()
        with QuietProgress(Outlet(stream)) as progress:
            feed(progress, 100)
            progress.message("a remark")
            progress.finish(summary)
        return stream.getvalue()

    assert written(FINISHED) == ""
    assert written(SUMMARIES["finished_with_failures"]).startswith("Finished: 9,876 rows ok, 112")


def test_events_are_one_object_a_line() -> None:
    """A machine reads each line as JSON: progress once a second, remarks, and the end."""
    stream = io.StringIO()
    with open_progress("json", stream=stream) as progress:
        feed(progress, 10)
        progress.message("a\nremark \x1b[2J é")
        progress.finish(SUMMARIES["finished_with_failures"])
    assert stream.getvalue().isascii()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["progress"] * 10 + ["message", "finished"]
    assert events[3]["ok"] == 12
    assert events[10]["text"] == "a\nremark \x1b[2J é"
    assert events[11]["failures"][0]["example_source"] == "prompts.jsonl:813, byte 204801"


def test_a_change_of_state_is_an_event() -> None:
    """A new phase or reason to wait is told at once."""
    stream = io.StringIO()
    with JsonProgress(Outlet(stream)) as progress:
        progress.update(RUNNING)
        progress.update(replace(RUNNING, waiting=Waiting("throttled", 0.1)))
        progress.update(replace(RUNNING, waiting=Waiting("throttled", 0.2)))
        progress.update(replace(RUNNING, phase=RunPhase.DRAINING))
    states = [json.loads(line)["waiting"] for line in stream.getvalue().splitlines()]
    assert states == [None, {"text": "throttled", "elapsed": 0.1, "remaining": None}, None]


def test_nothing_observed_is_kept_from_machines() -> None:
    """Every field of the snapshot and of the summary has its place in an event."""
    flattened = {"tokens": "input_tokens", "run_tokens": "run_input_tokens"}
    flattened |= {"recent": "rows_per_second", "mean": "mean_rows_per_second"}
    for cls, event in (
        (RunSnapshot, progress_event(RUNNING)),
        (RunSummary, finished_event(FINISHED)),
    ):
        for field in fields(cls):
            assert flattened.get(field.name, field.name) in event


def test_numbers_that_json_lacks_are_null() -> None:
    """Infinity is not valid JSON."""
    event = progress_event(replace(RUNNING, eta=float("inf"), retries={FailureKind.ROW: 1}))
    assert json.loads(event_line(event))["eta"] is None


class Broken(io.StringIO):
    """A stream whose reader has left."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.tried = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.tried += 1
        raise self.error


@pytest.mark.parametrize("mode", [mode for mode in ProgressMode if mode is not ProgressMode.AUTO])
@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(errno.EIO, "gone"), ValueError("closed file")]
)
def test_a_display_that_is_gone_harms_nothing(mode: str, error: Exception) -> None:
    """After the first failed write nothing is tried again, and nothing is raised."""
    stream = Broken(error)
    with open_progress(mode, stream=stream) as progress:
        feed(progress, 60)
        progress.message("a remark")
        progress.finish(SUMMARIES["interrupted"])
    assert stream.tried == 1


def test_a_closed_standard_error_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `2>&-` Python has no stderr at all."""
    monkeypatch.setattr(sys, "stderr", None)
    with open_progress() as progress:
        assert isinstance(progress, PlainProgress)
        feed(progress, 20)
        progress.finish(FINISHED)


def test_a_reader_that_leaves_does_not_change_the_exit_code() -> None:
    """`--json | head -1` ends as the run does: Python's own last flush must not fail."""
    program = (
        "import sys\n"
        "from distilabel_endpoints.progress import open_progress\n"
        "progress = open_progress('json')\n"
        "sys.stdin.readline()\n"
        "for _ in range(3): progress.message('x')\n"
        "sys.exit(2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(timeout=30) == 2
        assert process.stderr.read() == b""


def test_an_encoding_without_our_signs_gets_others() -> None:
    """On an ASCII terminal the block keeps its shape, and words their length."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    outlet = Outlet(stream)
    assert outlet.encoding == "ascii"
    outlet.write("━━╸── é…")
    outlet.write("plain")
    assert raw.getvalue() == b"==>-- ?~plain"
    raw_latin = io.BytesIO()
    latin = io.TextIOWrapper(raw_latin, encoding="latin-1")
    Outlet(latin).write("é")
    assert raw_latin.getvalue() == b"\xe9"


class Odd(io.StringIO):
    """A stream that cannot say what it is."""

    encoding = None  # type: ignore[assignment]

    def isatty(self) -> bool:
        raise ValueError("closed")


def test_a_stream_without_manners_is_no_terminal() -> None:
    """A stream that raises when asked is written to as a plain one."""
    outlet = Outlet(Odd())
    assert not outlet.isatty()
    assert outlet.encoding == "utf-8"


class Shell:
    """Stands for IPython's `ZMQInteractiveShell`."""


def as_kernel(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    """Pretend that IPython is loaded with that shell."""
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> FakeTerminal:
    """A terminal in an ordinary environment."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    return FakeTerminal()


def test_the_display_fits_the_stream(
    terminal: FakeTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live on a terminal and in a notebook, one line in its `!command`s, lines elsewhere."""
    assert isinstance(open_progress(stream=terminal), TerminalProgress)
    assert isinstance(open_progress(stream=io.StringIO()), PlainProgress)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert isinstance(open_progress(stream=terminal), LineProgress)
    assert isinstance(open_progress(stream=io.StringIO()), PlainProgress)
    monkeypatch.delenv("JPY_PARENT_PID")
    as_kernel(monkeypatch, Shell())
    assert isinstance(open_progress(stream=io.StringIO()), NotebookProgress)
    as_kernel(monkeypatch, type("TerminalInteractiveShell", (), {})())
    assert isinstance(open_progress(stream=terminal), TerminalProgress)
    as_kernel(monkeypatch, None)
    assert isinstance(open_progress(stream=terminal), TerminalProgress)


@pytest.mark.parametrize("name", ["", "dumb", "unknown", "DUMB"])
def test_a_dumb_terminal_gets_lines(
    name: str, terminal: FakeTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that cannot move its cursor is asked to."""
    monkeypatch.setenv("TERM", name)
    assert isinstance(open_progress(stream=terminal), PlainProgress)


def test_people_read_stderr_and_machines_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """Data and events go to stdout, all else to stderr."""
    for mode in ("plain", "line", "quiet", "json"):
        open_progress(mode).finish(SUMMARIES["interrupted"])
        out, err = capsys.readouterr()
        assert bool(out) == (mode == "json")
        assert bool(err) == (mode != "json")


def test_an_unknown_mode_is_refused() -> None:
    """The error names the modes there are."""
    with pytest.raises(
        ConfigurationError, match=r"auto, rich, notebook, line, plain, json, quiet, not 'x'"
    ):
        open_progress("x")


def test_rich_is_not_imported_before_it_is_needed() -> None:
    """Neither the package nor a log or JSON display costs its import."""
    program = (
        "import sys, io\n"
        "from distilabel_endpoints.progress import open_progress\n"
        "for mode in ('auto', 'plain', 'json', 'quiet'):\n"
        "    open_progress(mode, stream=io.StringIO())\n"
        "sys.exit(any(name.split('.')[0] == 'rich' for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_real_terminal_shows_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a pseudo-terminal: the block is drawn, the summary stays, no warning is raised."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    master, slave = pty.openpty()
    chunks: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(master, chunks.append))
    reader.start()
    with warnings.catch_warnings(), os.fdopen(slave, "w", encoding="utf-8") as stream:
        warnings.simplefilter("error")
        with open_progress(stream=stream) as progress:
            assert isinstance(progress, TerminalProgress)
            progress.update(RUNNING)
            progress.finish(FINISHED)
    reader.join(timeout=30)
    os.close(master)
    written = b"".join(chunks).decode()
    assert "64/64 in flight (plateau)" in written
    assert screen_of(written)[0] == "Finished: 10,000 rows ok, in 12 m 40 s."


def _drain(master: int, keep: Callable[[bytes], None]) -> None:
    """Read until the other side is closed, which Linux reports as an error."""
    try:
        while chunk := os.read(master, 65_536):
            keep(chunk)
    except OSError:
        return
