"""A wall clock that jumps by a day, ahead and back, many times a second: nobody reads it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import run, start, write_rows

from distilabel_endpoints.testing import Fault, Latency, Reset, Respond, SimulatedEndpoint, Throttle

Make = Callable[..., SimulatedEndpoint]

ROWS = 120
DAY = 86_400
FAULTS = (
    Fault(Throttle(1.0, form="date"), nth=5),
    Fault(Throttle(1.0, form="date", skew=DAY), nth=50),
    Fault(Respond(500), every=17, times=4),
    Fault(Reset(), every=29, times=3),
    Fault(Respond(503), nth=70),
)


@pytest.fixture(scope="module")
def jumping_clock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that makes it jump, compiled here."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("clock") / "wall_clock.so"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


def test_the_clock_jumps(jumping_clock: str) -> None:
    """Python sees it: readings of one moment are days apart."""
    read = "import time; print(*(time.time() for _ in range(99)))"
    command = [sys.executable, "-c", read]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={"LD_PRELOAD": jumping_clock}
    )
    readings = [float(word) for word in done.stdout.split()]
    assert max(readings) - min(readings) > 2 * DAY


@pytest.mark.promise("R15")
def test_nobody_reads_the_wall_clock(
    simulated_endpoint: Make, tmp_path: Path, jumping_clock: str
) -> None:
    """Killed and resumed under it: the same bytes, no row twice, no wait that is a day long."""
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    calm = simulated_endpoint()
    shown = ["--seed", "7", "--max-concurrency", "8"]
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert run("generate", rows, "-o", whole, "--base-url", calm.url, *shown).returncode == 0
    endpoint = simulated_endpoint(faults=FAULTS, latency=Latency(0.05))
    words = ["generate", rows, "-o", output, "--base-url", endpoint.url, *shown]
    begun = time.monotonic()
    process = start(*words, LD_PRELOAD=jumping_clock)
    endpoint.wait_for(lambda e: e.statistics().requests >= 60, 30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = run(*words, LD_PRELOAD=jumping_clock)
    assert resumed.returncode == 0, resumed.stderr
    assert time.monotonic() - begun < 60
    assert output.read_bytes() == whole.read_bytes()
    met = {record.fault for record in endpoint.generations}
    assert len(met - {None}) >= 3
    assert run("status", output, LD_PRELOAD=jumping_clock).returncode == 0
