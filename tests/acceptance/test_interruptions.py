"""Runs that are killed, interrupted and resumed: nothing lost, nothing twice."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import (
    environment,
    ids_of,
    rows_of,
    run,
    run_code,
    start,
    started,
    write_rows,
)

from distilabel_endpoints.testing import Latency, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

pytestmark = pytest.mark.usefixtures("default_signals")

ROWS = 300
CEILING = 8
COMMIT_GROUP = 64


def kill_until_done(make: Make, folder: Path, kills: int, seed: int) -> int:
    """Kill runs of one output at random moments; gives back how many kills hit a running one."""
    rng = random.Random(seed)
    rows = write_rows(folder / "rows.jsonl", ROWS)
    endpoint = make(latency=Latency(0.03, sigma=0.5))
    flags = ["--base-url", endpoint.url, "--max-concurrency", str(CEILING), "--seed", "7"]
    whole = folder / "whole.jsonl"
    begun = time.monotonic()
    assert run("generate", rows, "-o", whole, *flags).returncode == 0
    took = time.monotonic() - begun
    hit = round_ = 0
    while hit < kills:
        round_ += 1
        output = folder / f"killed-{round_}.jsonl"
        before = len(endpoint.generations)
        hits = 0
        while True:
            process = start("generate", rows, "-o", output, *flags)
            try:
                process.communicate(timeout=rng.uniform(0.1, 1.2) * took)
                assert process.returncode == 0
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                hits += 1
        sent = len(endpoint.generations) - before
        assert sent - ROWS <= hits * (CEILING + COMMIT_GROUP)
        assert output.read_bytes() == whole.read_bytes()
        hit += hits
    assert ids_of(rows_of(whole)) == [f"row-{n}" for n in range(ROWS)]
    return hit


@pytest.mark.promise("R3")
@pytest.mark.promise("R2")
@pytest.mark.promise("R1")
@pytest.mark.timeout(400)
def test_a_dozen_kills(simulated_endpoint: Make, tmp_path: Path) -> None:
    """R1-R3: after 12 SIGKILLs: no row lost, none twice, the bytes of an uninterrupted run.

    `make prove` kills 500 times.
    """
    assert kill_until_done(simulated_endpoint, tmp_path, 12, seed=1) >= 12


@pytest.mark.promise("R3")
@pytest.mark.promise("R2")
@pytest.mark.promise("R1")
@pytest.mark.prove
def test_five_hundred_kills(simulated_endpoint: Make, tmp_path: Path) -> None:
    """R1-R3, forty times over."""
    assert kill_until_done(simulated_endpoint, tmp_path, 500, seed=2) >= 500


def slow_run(
    make: Make, folder: Path, latency: float
) -> tuple[SimulatedEndpoint, list[str | Path]]:
    rows = write_rows(folder / "rows.jsonl", 60)
    endpoint = make(latency=Latency(latency))
    flags = ["--base-url", endpoint.url, "--max-concurrency", "4"]
    return endpoint, ["generate", rows, "-o", folder / "out.jsonl", *flags]


def test_one_interrupt_drains(simulated_endpoint: Make, tmp_path: Path) -> None:
    """SIGINT: what is in flight finishes, exit 130, and the resume command is said last."""
    endpoint, words = slow_run(simulated_endpoint, tmp_path, 0.5)
    process = start(*words)
    endpoint.wait_for(lambda e: e.statistics().requests >= 8, 30)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert not [record for record in endpoint.generations if record.aborted]
    unwrapped = re.sub(r"\s*\\\n\s*", " ", said)
    assert re.search(r"distilabel-endpoints generate \S+rows.jsonl -o \S+out.jsonl", unwrapped)
    sent = len(endpoint.generations)
    done = run("status", tmp_path / "out.jsonl").stdout
    assert f"{sent} ok, 0 failed of 60 rows" in done
    assert run(*words).returncode == 0
    assert len(endpoint.generations) == 60


def test_two_interrupts_cancel(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A second SIGINT cancels what is in flight; what was done is committed."""
    endpoint, words = slow_run(simulated_endpoint, tmp_path, 30)
    process = start(*words)
    endpoint.wait_for(lambda e: e.statistics().in_flight == 4, 30)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    for line in process.stderr:
        if "drain" in line.lower():
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert "0 ok" in run("status", tmp_path / "out.jsonl").stdout


def test_sigterm_is_an_interrupt_too(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A scheduler's SIGTERM drains and exits 143."""
    endpoint, words = slow_run(simulated_endpoint, tmp_path, 0.5)
    process = start(*words)
    endpoint.wait_for(lambda e: e.statistics().in_flight == 4, 30)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143


@pytest.mark.promise("R11")
def test_a_second_process_leaves_at_once(simulated_endpoint: Make, tmp_path: Path) -> None:
    """R11: exit 5, naming the holder; the first is unharmed."""
    endpoint, words = slow_run(simulated_endpoint, tmp_path, 0.3)
    first = start(*words)
    endpoint.wait_for(lambda e: e.statistics().in_flight == 4, 30)
    second = run(*words)
    assert second.returncode == 5
    assert str(first.pid) in second.stderr
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert len(endpoint.generations) == 60


def test_an_interrupt_after_the_last_request(simulated_endpoint: Make, tmp_path: Path) -> None:
    """What is in flight is finished, and when that was all, the output is written."""
    rows = write_rows(tmp_path / "rows.jsonl", CEILING)
    output = tmp_path / "out.jsonl"
    endpoint = simulated_endpoint(slots=CEILING, latency=Latency(1.5))
    process = start("generate", rows, "-o", output, "--base-url", endpoint.url)
    endpoint.wait_for(lambda e: e.in_flight == CEILING, 60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert len(rows_of(output)) == CEILING
    assert str(output) in said
    assert "To resume" not in said


SCRIPT = """
import sys
from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.progress import open_progress

rows, output, url = sys.argv[1:]
with InferenceEndpointsLLM(base_url=url, max_concurrency=4) as llm:
    try:
        generate_dataset(llm, rows, output, progress=open_progress("quiet"))
    except KeyboardInterrupt as error:
        print(error.summary.ok, error.summary.pending, error)
        raise
print("the next line")
"""


def test_an_interrupted_script_does_not_go_on(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`generate_dataset` raises when what was in flight is kept; the same call resumes."""
    rows = write_rows(tmp_path / "rows.jsonl", 40)
    output = tmp_path / "out.jsonl"
    endpoint = simulated_endpoint(latency=Latency(0.5))
    words = [str(rows), str(output), endpoint.url]
    first = started(words, environment(), SCRIPT)
    endpoint.wait_for(lambda e: len(e.generations) >= 4, 60)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=60)
    assert first.returncode == -signal.SIGINT  # what ends a shell's loop over scripts too
    assert "the next line" not in said
    ok, pending = map(int, said.split()[:2])
    assert ok + pending == 40
    assert ok == len(endpoint.generations) > 0
    assert "to resume" in said
    again = run_code(SCRIPT, *words)
    assert again.returncode == 0
    assert "the next line" in again.stdout
    assert ids_of(rows_of(output)) == [f"row-{n}" for n in range(40)]
    assert len(endpoint.generations) == 40
