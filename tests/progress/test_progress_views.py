"""The live block, the report and the log lines, as files under `tests/snapshots`.

`DISTILABEL_ENDPOINTS_WRITE_SNAPSHOTS=1` writes them anew; look at the
difference before it is committed.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from run_states import COMMAND, FINISHED, RUNNING, SNAPSHOTS, SUMMARIES

from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.progress.block import block
from distilabel_endpoints.progress.formatting import Line, Style, cells, plain
from distilabel_endpoints.progress.report import command_lines, report
from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.run_state import FailureGroup, RunPhase, Waiting

FILES = Path(__file__).parent.parent / "snapshots"
WIDTHS = (80, 140)


def expect(name: str, text: str) -> None:
    """Compare with the file of that name, or write it."""
    path = FILES / f"{name}.txt"
    if os.environ.get("DISTILABEL_ENDPOINTS_WRITE_SNAPSHOTS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def text_of(lines: Sequence[Line]) -> str:
    """The lines without style."""
    return "".join(f"{plain(spans)}\n" for spans in lines)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("state", SNAPSHOTS)
def test_block_of_each_state(state: str, width: int) -> None:
    """Each state of a run has its block, which fits the terminal."""
    lines = block(SNAPSHOTS[state], width)
    assert 1 <= len(lines) <= 4
    assert all(cells(plain(spans)) <= width for spans in lines)
    expect(f"{state}-{width}", text_of(lines))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("state", SUMMARIES)
def test_report_of_each_ending(state: str, width: int) -> None:
    """Each ending of a run has its report, which fits the terminal."""
    lines = report(SUMMARIES[state], width)
    assert all(cells(plain(spans)) <= width for spans in lines)
    expect(f"{state}-{width}", text_of(lines))


def test_log_line_of_each_state() -> None:
    """Each state of a run has its line in a log."""
    written = io.StringIO()
    for number, snapshot in enumerate(SNAPSHOTS.values()):
        with open_progress("plain", stream=written) as progress:
            progress.update(replace(snapshot, elapsed=1000.0 * number))
    expect("log", written.getvalue())


@pytest.mark.parametrize("state", SNAPSHOTS)
def test_no_block_is_wider_than_its_terminal(state: str) -> None:
    """From 1 to 200 cells, no line is wider than what there is."""
    for width in range(1, 201):
        lines = block(SNAPSHOTS[state], width)
        assert all(sum(cells(span.text) for span in spans) <= width for spans in lines)


def test_no_field_is_cut_down_to_a_few_letters() -> None:
    """What has an ellipsis still says something; what cannot is left out."""
    for width in range(30, 140):
        for spans in block(SNAPSHOTS["resumed"], width):
            last = plain(spans[-1:]).strip()
            assert not last.endswith("…") or len(last) > 15


def test_figures_stay_in_their_columns() -> None:
    """A figure that grows by a digit moves no other one."""
    later = replace(RUNNING, in_flight=9, failed=9, ok=9_111, eta=5.0)
    for width in WIDTHS:
        before, after = (text_of(block(s, width)).splitlines() for s in (RUNNING, later))
        assert before[0].index("/10,000") == after[0].index("/10,000")
        assert before[1].index("in flight") - after[1].index("in flight") == len("64") - len("9")
        assert before[2] == after[2]


def test_the_bar_shows_the_share() -> None:
    """Empty with nothing done, half with half of it, full only with all of it."""

    def halves(done: int) -> tuple[int, int]:
        text = plain(block(replace(RUNNING, ok=done, failed=0), 120)[0])
        half = text.count("╸")
        return 2 * text.count("━") + half, 2 * text.count("─") + half

    assert halves(0)[0] == 0
    assert halves(10_000)[1] == 0
    assert abs(halves(5_000)[0] - halves(5_000)[1]) <= 1
    assert halves(9_999)[1] == 1


def test_more_rows_done_than_expected_breaks_nothing() -> None:
    """An input that grew, or an empty one, is still drawn."""
    grown = plain(block(replace(RUNNING, total=1), 80)[0])
    assert "100 %" in grown
    assert cells(grown) <= 80
    assert "0 %" in plain(block(replace(RUNNING, total=0, ok=0, failed=0), 80)[0])


def test_failed_rows_stand_out() -> None:
    """Failures are marked as bad once there is one."""

    def style(failed: int) -> Style:
        spans = block(replace(RUNNING, failed=failed), 80)[1]
        return next(span.style for span in spans if "failed" in span.text)

    assert style(0) is Style.DIM
    assert style(1) is Style.BAD


def test_a_known_wait_is_counted_down() -> None:
    """`Retry-After` shows what is left of it; a wait of unknown length how long it has been."""
    asked = replace(RUNNING, waiting=Waiting("server asks 300 s", elapsed=20.0, remaining=280.0))
    assert plain(block(asked, 80)[3]).strip() == "server asks 300 s, 4 m 40 s left"
    open_ended = replace(RUNNING, waiting=Waiting("nothing listens at localhost:80", elapsed=20.0))
    assert plain(block(open_ended, 80)[3]).strip() == "nothing listens at localhost:80, 20 s"
    just_now = replace(RUNNING, waiting=Waiting("throttled"))
    assert plain(block(just_now, 80)[3]).strip() == "throttled"


def test_no_time_is_promised_while_draining() -> None:
    """Rows that will not be sent have no ETA; nor does a drain without end have a limit."""
    draining = replace(RUNNING, phase=RunPhase.DRAINING, in_flight=1)
    text = text_of(block(draining, 140))
    assert "ETA" not in text
    assert "finishing 1 request in flight; Ctrl-C cancels them" in text


@pytest.mark.promise("S7")
def test_hostile_words_are_harmless_in_block_and_report() -> None:
    """What a server says reaches no line with a control or a newline in it."""
    hostile = "\x1b[2J\x1b]0;t\x07mean\nwhile\u202e\x9b1A"
    snapshot = replace(RUNNING, limit_reason=hostile, waiting=Waiting(hostile, 3.0))
    group = FailureGroup(
        kind=FailureKind.ROW,
        code=hostile,
        message=hostile,
        hint=hostile,
        count=1,
        example_ordinal=0,
        example_source=hostile,
    )
    summary = replace(
        FINISHED, failures=(group,), failed=1, reason=hostile, output=hostile, journal=hostile
    )
    for spans in [*block(snapshot, 140), *report(summary, 80)]:
        assert plain(spans).isprintable()
    assert "mean while" in plain(block(snapshot, 140)[3])


def test_wide_characters_are_counted_as_two() -> None:
    """A message in Chinese fits the width in cells, not in characters."""
    group = FailureGroup(
        kind=FailureKind.ROW, message="上下文长度超出限制" * 30, count=2, example_ordinal=0
    )
    lines = [plain(spans) for spans in report(replace(FINISHED, failures=(group,)), 80)]
    assert all(cells(text) <= 80 for text in lines)
    assert max(cells(text) for text in lines) >= 79
    assert sum("上" in text for text in lines) == 3


def test_only_the_largest_groups_are_listed() -> None:
    """Six reasons in full, the rest as a number."""
    groups = tuple(
        FailureGroup(kind=FailureKind.ROW, message=f"reason {n}", count=9 - n, example_ordinal=n)
        for n in range(8)
    )
    text = text_of(report(replace(FINISHED, failures=groups), 80))
    assert "reason 5" in text
    assert "reason 6" not in text
    assert "and 2 more reasons, 5 rows" in text
    assert "and 1 more reason, 3 rows" in text_of(
        report(replace(FINISHED, failures=groups[:7]), 80)
    )


def test_paths_are_never_broken() -> None:
    """A path longer than the line stays in one piece, to be copied."""
    path = "/data/" + "long/" * 30 + "out.jsonl"
    assert f"Output     {path}\n" in text_of(report(replace(FINISHED, output=path), 80))


def test_a_run_that_sent_nothing_claims_no_speed() -> None:
    """A resume that finds all rows done has no rate."""
    idle = replace(FINISHED, mean=type(FINISHED.mean)(), resumed=10_000)
    text = text_of(report(idle, 80))
    assert "Speed" not in text
    assert "10,000 rows had been done before" in text


@pytest.mark.parametrize("width", [40, 60, 78, 200])
def test_command_lines_are_one_command(width: int) -> None:
    """However it is broken, a shell reads the same words; options stay with their values."""
    words = (*COMMAND, "--system", "Don't.\n\tBe\x1b[31m \\ 'rude' \u202e\x85 \U000e0001 é")
    lines = command_lines(words, width)
    assert all(cells(text) <= width or text.strip().startswith("--") for text in lines)
    script = "printf '%s\\0' " + "\n".join(lines)
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() == "".join(f"{word}\0" for word in words)
    assert all(text.isprintable() for text in lines)


def test_command_lines_fit() -> None:
    """No line is longer than it may be, its backslash included."""
    for width in range(60, 140):
        assert all(cells(text) <= width for text in command_lines(COMMAND, width))


def test_command_keeps_bytes_that_are_no_text() -> None:
    """An argument that is not UTF-8 is written as its bytes."""
    assert command_lines(("x", "\udcff"), 80) == [r"x $'\xff'"]
