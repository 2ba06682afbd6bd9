"""`estimate`, `--pilot` and `--budget` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from command import run, write_rows

from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


def test_an_estimate_answers_rows_of_the_run(simulated_endpoint: Make, tmp_path: Path) -> None:
    """It shows what the run will need and ends with 0; `generate` sends the other rows only."""
    endpoint = simulated_endpoint()
    rows, out = write_rows(tmp_path / "in.jsonl", 90), tmp_path / "out.jsonl"
    words = (rows, "-o", out, "--base-url", endpoint.url, "--price-in", 1, "--price-out", 2)
    done = run("estimate", *words, "--pilot", 30)
    assert done.returncode == 0, done.stderr
    for part in ("The whole run", "output", "dollars  $", "cut off", "advice", "generate"):
        assert part in done.stderr
    assert len(endpoint.generations) == 30
    assert len(out.read_text().splitlines()) == 30  # to be looked at
    assert "spent:" in run("status", out).stdout
    assert run("generate", *words).returncode == 0
    assert len(endpoint.generations) == 90
    assert len(out.read_text().splitlines()) == 90


def test_a_pilot_without_a_terminal_stops_and_says_how_to_continue(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """Exit code 8, the same command with --yes, and with it nothing is sent twice."""
    endpoint = simulated_endpoint()
    rows, out = write_rows(tmp_path / "in.jsonl", 60), tmp_path / "out.jsonl"
    words = ("generate", rows, "-o", out, "--base-url", endpoint.url, "--pilot", 25, "--json")
    done = run(*words)
    assert done.returncode == 8, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["ending"], last["ok"], last["pending"]) == ("pilot", 25, 35)
    assert last["resume_command"][-1] == "--yes"
    assert last["forecast"]["rows"] == 60
    assert last["forecast"]["output_tokens"]["low"] < last["forecast"]["output_tokens"]["high"]
    assert run(*words, "--yes").returncode == 0
    assert len(endpoint.generations) == 60


def test_a_budget_that_cannot_hold_over_ray_is_refused_before_the_start(
    simulated_endpoint: Callable[..., Any], tmp_path: Path
) -> None:
    """Dollars without a price, with the remedy: nothing is sent, and no Ray is started for it."""
    endpoint = simulated_endpoint()
    rows, out = write_rows(tmp_path / "in.jsonl", 5), tmp_path / "out"
    target = ("--base-url", endpoint.url)
    done = run("generate", rows, "-o", out, *target, "--ray", "local", "--budget", "$3")
    assert done.returncode == 1, done.stderr
    assert "--price-in" in done.stderr
    assert not endpoint.generations


def test_a_budget_ends_with_its_own_code(simulated_endpoint: Make, tmp_path: Path) -> None:
    """6, with what was spent; a budget that is none is refused before anything is sent."""
    endpoint = simulated_endpoint()
    rows, out = write_rows(tmp_path / "in.jsonl", 200), tmp_path / "out.jsonl"
    words = ("generate", rows, "-o", out, "--base-url", endpoint.url)
    wrong = run(*words, "--budget", "20")
    assert wrong.returncode == 1
    assert "in single quotes" in wrong.stderr
    unpriced = run(*words, "--budget", "$20")
    assert unpriced.returncode == 1
    assert "--price-in" in unpriced.stderr
    assert not endpoint.generations
    done = run(*words, "--budget", "3ktok", "--budget", "1h")
    assert done.returncode == 6, done.stderr
    assert "Stopped at the end of the budget" in done.stderr
    assert "of a budget of 3ktok and 1h" in done.stderr
    assert "larger --budget" in done.stderr
    assert "To resume" not in done.stderr  # the same command could pay for nothing more
    assert 0 < len(endpoint.generations) < 200
