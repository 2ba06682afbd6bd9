"""A whole run whose disk fails at one call: what was reported as done is there, and it resumes."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest
from command import environment, ids_of, rows_of, run, write_rows

from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints.errors import StorageError
from distilabel_endpoints.testing import Latency, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

ROWS = 40
STRICKEN = """
import ctypes, sys
disk = ctypes.CDLL(None)
disk.disk_faults_arm(*map(int, sys.argv[1:5]))
del sys.argv[1:5]
from distilabel_endpoints.cli import main
try:
    main()
finally:
    sys.stderr.write(f"struck={disk.disk_faults_struck()}")
"""
FAULTS = {
    "ENOSPC once": (1, 0, errno.ENOSPC),
    "ENOSPC from there": (1, 1, errno.ENOSPC),
    "fsync once": (2, 0, errno.EIO),
}
"""What is struck (1 writes, 2 fsyncs), whether once, and the error."""


@pytest.fixture(scope="module")
def faulty_disk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that makes calls to the disk fail, compiled here."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("faults") / "disk_faults.so"
    source = Path(__file__).parents[1] / "store" / "disk_faults.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


def stored(output: Path) -> int:
    """Results in the journal; none where the disk failed before there was one."""
    try:
        with Reader(output) as reader:
            return reader.statistics().ok
    except StorageError:
        assert not output.with_name(output.name + ".journal").exists()
        return 0


def strike(
    fault: str, at: int, library: str, words: list[object]
) -> tuple[subprocess.CompletedProcess[str], bool]:
    """The command with one failing call, the `at`th; and whether it came so far."""
    numbers = [*FAULTS[fault], at]
    done = subprocess.run(
        [sys.executable, "-c", STRICKEN, *map(str, [*numbers, *words])],
        check=False,
        capture_output=True,
        text=True,
        env=environment(LD_PRELOAD=library),
        timeout=100,
    )
    return done, done.stderr.endswith("struck=1")


def survive(
    make: Make, folder: Path, library: str, places: Iterable[tuple[str, int]]
) -> tuple[int, int]:
    """Strike runs at these places, until one gets by; how many were struck, and rows kept."""
    rows = write_rows(folder / "rows.jsonl", ROWS)
    endpoint = make(latency=Latency(0.05))
    flags = ["--base-url", endpoint.url, "--seed", "5", "--max-concurrency", "4"]
    whole = folder / "whole.jsonl"
    assert run("generate", rows, "-o", whole, *flags).returncode == 0
    strikes = kept = 0
    for fault, at in places:
        output = folder / f"{fault} {at}" / "out.jsonl"
        output.parent.mkdir()
        words: list[object] = ["generate", rows, "-o", output, *flags, "--json"]
        done, struck = strike(fault, at, library, words)
        if not struck:
            assert done.returncode == 0
            break
        assert done.returncode == 4, (at, done.stderr)
        assert "Traceback" not in done.stderr
        assert "out.jsonl" in done.stderr + done.stdout
        events = [json.loads(line) for line in done.stdout.splitlines()]
        said = [event["ok"] for event in events if "ok" in event]
        safe, sent = stored(output), len(endpoint.generations)
        # More may be safe than was said: a commit whose last fsync fails is not told.
        assert (said[-1] if said else 0) <= safe, at
        assert run(*words).returncode == 0
        assert len(endpoint.generations) - sent == ROWS - safe
        assert output.read_bytes() == whole.read_bytes()
        assert ids_of(rows_of(output)) == [f"row-{n}" for n in range(ROWS)]
        shutil.rmtree(output.parent)
        strikes, kept = strikes + 1, kept + safe
    return strikes, kept


@pytest.mark.promise("R12")
@pytest.mark.promise("R13")
def test_a_call_that_fails(simulated_endpoint: Make, tmp_path: Path, faulty_disk: str) -> None:
    """Exit 4 at once, acknowledged rows are on the disk, and only the others are sent again."""
    places = [("ENOSPC once", 50), ("ENOSPC from there", 70), ("fsync once", 18)]
    strikes, kept = survive(simulated_endpoint, tmp_path, faulty_disk, places)
    assert strikes == 3
    assert kept


@pytest.mark.prove
@pytest.mark.promise("R12")
@pytest.mark.promise("R13")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_call_fails(
    simulated_endpoint: Make, tmp_path: Path, faulty_disk: str, fault: str
) -> None:
    """The same for each write and each fsync of a run, from the first to the last."""
    places = ((fault, at) for at in count(1))
    strikes, kept = survive(simulated_endpoint, tmp_path, faulty_disk, places)
    assert strikes > 10
    assert kept
