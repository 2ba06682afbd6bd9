"""Runs that woke an endpoint and are killed: it is paused again, and nothing else is touched."""

from __future__ import annotations

import os
import random
import signal
import stat
import time
from pathlib import Path

import psutil
import pytest
from life_command import rows, start, watchdogs
from lifecycle_samples import KEY, TOKENS, commands, deployment

from distilabel_endpoints.testing import Latency, SimulatedEndpoint

PROMISED = 10.0
"""Seconds from a kill to a paused endpoint."""


def kill_runs(folder: Path, kills: int, seed: int) -> list[float]:
    """Kill so many runs at random moments after they woke the endpoint; seconds until it slept."""
    rng, took = random.Random(seed), []
    inputs = rows(folder / "rows.jsonl", 5_000)
    for number in range(kills):
        asleep = deployment(wake_seconds=rng.uniform(0, 1.5), pause_seconds=rng.uniform(0, 1.0))
        with SimulatedEndpoint(
            tokens=TOKENS, deployment=asleep, slots=4, latency=Latency(0.05)
        ) as endpoint:
            output = folder / f"out-{number}.jsonl"
            words = ["generate", inputs, "-o", output, "--endpoint-name", "mine"]
            process = start(endpoint, folder / "state", *words, "--endpoint-namespace", "ada")
            try:
                endpoint.wait_for(lambda e: "resume" in commands(e), 60)
                time.sleep(rng.uniform(0, 2.5))
                assert process.poll() is None, process.communicate()
            finally:
                process.send_signal(signal.SIGKILL)
                process.communicate()
            killed = time.monotonic()
            while endpoint.state != "paused" and time.monotonic() < killed + 60:
                time.sleep(0.02)
            took.append(time.monotonic() - killed)
            assert endpoint.state == "paused", (
                output.parent / f"{output.name}.endpoint.log"
            ).read_text()
            assert set(commands(endpoint)) <= {"resume", "pause"}
            assert commands(endpoint).count("resume") == 1
            # It looks once more whether the endpoint is paused, and ends.
            _, alive = psutil.wait_procs(watchdogs(folder / "state"), 60)
            assert not alive
    return took


@pytest.mark.promise("R16")
@pytest.mark.timeout(400)
def test_four_kills(tmp_path: Path) -> None:
    """Whatever the moment, from the start command on: asleep again, by pauses only."""
    assert len(kill_runs(tmp_path, 4, seed=1)) == 4


@pytest.mark.promise("R16")
@pytest.mark.prove
def test_two_hundred_kills(tmp_path: Path) -> None:
    """Each time within ten seconds."""
    took = kill_runs(tmp_path, 200, seed=2)
    assert max(took) <= PROMISED, sorted(took)[-5:]


@pytest.mark.promise("R16")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("default_signals")
def test_signals_put_it_back_before_the_run_ends(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, a termination, a closed terminal: drained, paused, and reported with its price."""
    asleep = deployment(pause_seconds=0.3)
    inputs = rows(tmp_path / "rows.jsonl", 5_000)
    with SimulatedEndpoint(
        tokens=TOKENS, deployment=asleep, slots=4, latency=Latency(0.05)
    ) as endpoint:
        words = ["generate", inputs, "-o", tmp_path / "out.jsonl", "--endpoint-name", "mine"]
        process = start(endpoint, tmp_path / "state", *words)
        endpoint.wait_for(lambda e: len(e.generations) > 20, 60)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert endpoint.state == "paused"
        assert process.returncode == 128 + number
        assert "endpoint ada/mine is paused" in said
        assert f"${endpoint.bill:,.2f}" in said
        assert commands(endpoint) == ["resume", "pause"]


def test_the_watchdog_is_on_its_own_and_keeps_the_token_to_itself(tmp_path: Path) -> None:
    """Another session, nobody's child; no token in arguments, environment, log or state."""
    asleep = deployment()
    inputs = rows(tmp_path / "rows.jsonl", 5_000)
    output = tmp_path / "out.jsonl"
    log = tmp_path / "out.jsonl.endpoint.log"
    with SimulatedEndpoint(
        tokens=TOKENS, deployment=asleep, slots=1, latency=Latency(0.05)
    ) as endpoint:
        words = ["generate", inputs, "-o", output, "--endpoint-name", "mine"]
        process = start(endpoint, tmp_path / "state", *words)
        endpoint.wait_for(lambda e: len(e.generations) > 3, 60)
        (watchdog,) = watchdogs(tmp_path / "state")
        assert KEY not in str(watchdog.info)
        assert watchdog.ppid() != process.pid
        assert os.getsid(watchdog.pid) != os.getsid(process.pid)
        # The whole process group at once, as a closed terminal or a supervisor does it.
        process.kill()
        process.communicate()
        watchdog.wait(60)
        assert endpoint.state == "paused"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "is paused" in log.read_text()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(KEY.encode() not in path.read_bytes() for path in files)
