"""`view`: rows in a terminal, forward, backward, filtered, and harmless."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command import run
from hostile import hostile_run
from test_report import TOO_LONG, a_run, reply

from distilabel_endpoints.report.viewer import view
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


@pytest.fixture
def output(simulated_endpoint: Make, tmp_path: Path) -> Path:
    endpoint = simulated_endpoint(flavor="vllm", reply=reply, faults=(TOO_LONG,))
    return a_run(endpoint, tmp_path / "answers.jsonl", 30)


def shown(output: Path, *commands: str, only: str = "all", row: int = 1) -> list[str]:
    """The numbers of the rows that are shown, `-` where there is no further one."""
    stream = io.StringIO()
    left = iter(commands)
    view(output, only=only, start=row, read=lambda: next(left, None), stream=stream)
    found = re.findall(r"^--- row (\d+)|^(There are no more)", stream.getvalue(), re.MULTILINE)
    return [number or "-" for number, _ in found]


def test_rows_are_paged_through(output: Path) -> None:
    """Next, previous, a row by its number, and an end on both sides."""
    assert shown(output, "n", "", "p", "p", "p") == ["1", "2", "3", "2", "1", "-"]
    assert shown(output, "g 29", "n", "n", "g 31") == ["1", "29", "30", "-", "-"]
    assert shown(output, "n", row=10) == ["10", "11"]


def test_filters_and_search(output: Path) -> None:
    """Failed rows, those with a flaw, and those whose answer holds a text."""
    assert shown(output, "n", "n", "n", only="failed") == ["2", "12", "22", "-"]
    assert shown(output, "f loops", "n", "n", "n", "p") == ["1", "3", "13", "23", "-", "13"]
    assert shown(output, "f empty", "n") == ["1", "4", "14"]
    assert shown(output, "/again and", "/", "f all", "/TOO LONG") == ["1", "3", "13", "3", "12"]
    assert shown(output, "/too long", "/") == ["1", "2", "12"]


def test_a_row_is_shown_whole(output: Path) -> None:
    """Prompt, answer or failure, and how it ended; what is not a command shows the commands."""
    done = run("view", output, stdin="n\nwhat?\nq\nn\n")
    assert done.returncode == 0
    assert "[user]\nQuestion 0\n[answer, ended by stop]\nAn answer to" in done.stdout
    assert "[user]\nQuestion 1 toolong\n[failure]\nrow 400: too long" in done.stdout
    assert "n next, p previous" in done.stdout
    assert done.stdout.count("--- row") == 2


@pytest.mark.promise("S7")
def test_hostile_rows_do_not_drive_the_terminal(tmp_path: Path) -> None:
    """Neither escape sequences nor characters that reorder text come through."""
    output = hostile_run(tmp_path / "answers.jsonl")
    done = run("view", output, stdin="n\n" * 20)
    assert done.returncode == 0, done.stderr
    assert re.findall("[\x00-\x09\x0b-\x1f\u202a-\u202e]", done.stdout) == []
