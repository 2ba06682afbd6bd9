"""The measurements work, and each has its place in the documentation. Figures are not tested."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import tables
from benchmarks.__main__ import NAMES
from benchmarks.load import ROOT, spend
from benchmarks.peers import PEERS
from benchmarks.spent import Load, Spent, Stopwatch, answer, read_answer, read_load

from distilabel_endpoints.testing import Latency, SimulatedEndpoint


@pytest.mark.parametrize("name", NAMES)
def test_each_measurement_says_how_it_is_started(name: str) -> None:
    """A `main`, and a docstring that has the command."""
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.main)
    assert f"python -m benchmarks {name}" in (module.__doc__ or "")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "limit_picture"])
def test_each_measurement_has_a_section(name: str) -> None:
    """Exactly one place on one page, with the command above it."""
    page = (tables.DOCS / tables.PAGES.get(name, "performance.md")).read_text(encoding="utf-8")
    assert page.count(f"<!-- {name} -->\n") == page.count(f"<!-- /{name} -->") == 1
    before = page.partition(f"<!-- {name} -->")[0]
    commands = [line for line in before.splitlines() if "python -m benchmarks" in line]
    assert any(name in command.replace("`", " ").split() for command in commands)


def test_writing_replaces_one_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed is shown and written; the rest of the page stays, twice as well as once."""
    page = tmp_path / "performance.md"
    page.write_text("A\n<!-- one -->\nold\n<!-- /one -->\nB\n<!-- two -->\n<!-- /two -->\n")
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    for figure in ("1", "2"):
        with tables.written("one"):
            tables.print_table("T", ("a", "b"), [(figure, "y")])
    table = "\nT\n\n| a | b |\n|---|---|\n| 2 | y |\n"
    assert table in capsys.readouterr().out
    expected = f"A\n<!-- one -->\n{table}\n<!-- /one -->\nB\n<!-- two -->\n<!-- /two -->\n"
    assert page.read_text() == expected


def test_a_page_without_the_section_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of measuring must not end in nowhere to write it."""
    (tmp_path / "performance.md").write_text("A\n")
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    with pytest.raises(SystemExit, match="no section 'one'"), tables.written("one"):
        pytest.fail("it ran")


def test_a_failed_measurement_leaves_its_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last good figures stay."""
    page = tmp_path / "performance.md"
    page.write_text("<!-- one -->\nold\n<!-- /one -->\n")
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    with pytest.raises(ZeroDivisionError), tables.written("one"):
        print(1 / 0)  # noqa: T201
    assert page.read_text() == "<!-- one -->\nold\n<!-- /one -->\n"


@pytest.mark.parametrize(
    ("measured", "at_least", "met"), [(1.0, False, True), (1.1, False, False), (1.1, True, True)]
)
def test_a_bar_is_met_on_its_own_side(measured: float, at_least: bool, met: bool) -> None:
    """The bar itself is enough."""
    assert tables.Bar("P", "x", measured, 1.0, at_least=at_least).met is met


@pytest.mark.parametrize("at_once", [None, 64])
def test_a_load_survives_the_command_line(at_once: int | None) -> None:
    """What one process asks for is what the other reads."""
    load = Load(url="http://127.0.0.1:1", rows=10, at_once=at_once, warm=2)
    assert read_load(load.words) == load


def test_what_was_spent_survives_a_noisy_library(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the last line counts, whatever was printed before it."""
    with Stopwatch() as watch:
        sum(range(100_000))
    spent = watch.spent()
    print("a library says hello", end="")  # noqa: T201
    answer(spent)
    assert read_answer(capsys.readouterr().out) == spent
    assert spent.wall > 0
    assert spent.peak_mb > 1


@pytest.mark.parametrize("client", ["aiohttp", "ours-hub"])
def test_a_client_sends_every_row_from_a_process_of_its_own(client: str) -> None:
    """All rows and those to warm up with arrive, no more in flight than told."""
    with SimulatedEndpoint(latency=Latency(0.01)) as endpoint:
        spent = spend(client, Load(url=endpoint.url, rows=20, at_once=4, warm=8))
        assert len(endpoint.latencies) == 28
        assert endpoint.peak_in_flight == 4
    assert isinstance(spent, Spent)


def test_peers_need_nothing_of_this_project() -> None:
    """Their modules import only what both environments have, so the interpreter may be any."""
    code = "import sys, json, benchmarks.peers, benchmarks.spent; print(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert not {"distilabel_endpoints", "aiohttp", "psutil"} & set(json.loads(done.stdout))
    for peer in PEERS.values():
        assert (ROOT / "benchmarks" / "peers" / f"{peer.module}.py").is_file()


def test_a_measurement_runs_from_the_command_line() -> None:
    """Short, it prints its table and ends well."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "endpoint_capacity"],
        cwd=ROOT,
        env={**os.environ, "BENCH_QUICK": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "| 512 |" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [(["speed"], "endpoint_capacity"), (["imports", "--write"], "mean nothing")],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str) -> None:
    """A name there is not, with those there are; short measurements on the page."""
    command = [sys.executable, "-m", "benchmarks", *words]
    surroundings = {**os.environ, "BENCH_QUICK": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
