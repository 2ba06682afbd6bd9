"""A dedicated endpoint that a job over real Ray woke sleeps again, whatever ends the job."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from command import Started
from life_command import rows
from lifecycle_samples import KEY, TOKENS, commands, deployment
from ray_command import start_job

from distilabel_endpoints.testing import Latency, SimulatedEndpoint

pytestmark = [
    pytest.mark.usefixtures("default_signals"),
    pytest.mark.prove,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in the driver's process
]


def start(endpoint: SimulatedEndpoint, tmp_path: Path, short_folder: str, count: int) -> Started:
    """The job of so many rows, in a process of its own."""
    words = ["generate", rows(tmp_path / "in.jsonl", count), "-o", tmp_path / "out"]
    words += ["--endpoint-name", "mine", "--endpoint-namespace", "ada", "--max-concurrency", 8]
    return start_job(endpoint, tmp_path, short_folder, KEY, *words)


def test_a_finished_job_leaves_its_endpoint_asleep(tmp_path: Path, short_folder: str) -> None:
    """It is resumed once and paused once; with nothing left to send it is left alone."""
    asleep = deployment(wake_seconds=0.5)
    with SimulatedEndpoint(tokens=TOKENS, deployment=asleep, latency=Latency(0.02)) as endpoint:
        driver = start(endpoint, tmp_path, short_folder, 100)
        _, shown = driver.communicate(timeout=240)
        assert driver.returncode == 0, shown
        assert len(endpoint.generations) == 100
        assert (endpoint.state, commands(endpoint)) == ("paused", ["resume", "pause"])
        again = start(endpoint, tmp_path, short_folder, 100)
        _, shown = again.communicate(timeout=240)
        assert again.returncode == 0, shown
        assert (endpoint.state, commands(endpoint)) == ("paused", ["resume", "pause"])


def test_a_killed_job_leaves_its_endpoint_asleep(tmp_path: Path, short_folder: str) -> None:
    """The watchdog of the driver pauses it after `kill -9`, though workers live a little longer."""
    asleep = deployment(wake_seconds=0.5)
    with SimulatedEndpoint(tokens=TOKENS, deployment=asleep, latency=Latency(0.2)) as endpoint:
        driver = start(endpoint, tmp_path, short_folder, 5000)
        endpoint.wait_for(lambda e: len(e.generations) > 20, 240)
        others = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        killed = time.monotonic()
        while endpoint.state != "paused" and time.monotonic() < killed + 60:
            time.sleep(0.05)
        assert endpoint.state == "paused", (tmp_path / "out.endpoint.log").read_text()
        assert commands(endpoint) == ["resume", "pause"]
        for process in others:
            with suppress(psutil.Error):
                process.kill()
