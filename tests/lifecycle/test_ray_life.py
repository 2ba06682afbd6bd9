"""A dedicated endpoint that a job over real Ray woke sleeps again, whatever ends the job."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from command import Started, started
from life_command import environment, rows
from lifecycle_samples import TOKENS, commands, deployment

from distilabel_endpoints.testing import Latency, SimulatedEndpoint

pytestmark = [
    pytest.mark.usefixtures("default_signals"),
    pytest.mark.prove,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in the driver's process
]

# Ray starts its workers itself: they find the simulated Hugging Face when Python starts.
ADDRESSES = """
import importlib, json, os
for name, address in json.loads(os.environ["SIMULATED_ADDRESSES"]).items():
    owner, _, attribute = name.rpartition(".")
    try:
        holder = importlib.import_module(owner)
    except ImportError:
        module, _, inner = owner.rpartition(".")
        holder = getattr(importlib.import_module(module), inner)
    setattr(holder, attribute, address)
"""


def start(endpoint: SimulatedEndpoint, tmp_path: Path, short_folder: str, count: int) -> Started:
    """The job of so many rows, in a process of its own."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(ADDRESSES, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    variables = {
        **environment(tmp_path / "state"),
        "SIMULATED_ADDRESSES": json.dumps(dict(endpoint.hugging_face_addresses)),
        "PYTHONPATH": path.rstrip(os.pathsep),
        "RAY_TMPDIR": short_folder,
    }
    words = ["generate", rows(tmp_path / "in.jsonl", count), "-o", tmp_path / "out", "--ray"]
    words += ["--endpoint-name", "mine", "--endpoint-namespace", "ada", "--max-concurrency", 8]
    code = f"{ADDRESSES}\nfrom distilabel_endpoints.cli import main\nmain()\n"
    return started(list(map(str, words)), variables, code)


def test_a_finished_job_leaves_its_endpoint_asleep(tmp_path: Path, short_folder: str) -> None:
    """It is resumed once and paused once, and every row is answered."""
    asleep = deployment(wake_seconds=0.5)
    with SimulatedEndpoint(tokens=TOKENS, deployment=asleep, latency=Latency(0.02)) as endpoint:
        driver = start(endpoint, tmp_path, short_folder, 100)
        _, shown = driver.communicate(timeout=240)
        assert driver.returncode == 0, shown
        assert len(endpoint.generations) == 100
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
