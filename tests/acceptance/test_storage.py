"""Disks that are full, gone or wrong: what was acknowledged stays, and the run can resume."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from command import arguments, environment, ids_of, rows_of, run, start, write_rows

from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints.testing import Latency, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

ROWS = 600
BLOCK = 512
"""Bytes of one unit of `ulimit -f` in a POSIX shell."""


def run_with_room(words: list[object], kibibytes: int) -> subprocess.CompletedProcess[str]:
    """A command none of whose files may grow over `kibibytes`, as on a disk that fills up."""
    limit = f'ulimit -f {kibibytes * 1024 // BLOCK} && exec "$@"'
    return subprocess.run(
        ["sh", "-c", limit, "sh", *arguments(*words)],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
    )


def stored(output: Path) -> int:
    """Results that the journal of `output` holds."""
    with Reader(output) as reader:
        found = reader.statistics()
    return found.ok + found.failed


def _await_what_was_sent(endpoint: SimulatedEndpoint) -> None:
    """Requests of a command that has ended still come out of its sockets, before one sent now."""
    with urlopen(f"{endpoint.url}/v1/models") as answer:
        assert answer.status == 200
    endpoint.wait_for(lambda busy: busy.in_flight == 0)


@pytest.mark.promise("R12")
def test_a_full_disk(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Exit 4; what was said to be done is in the journal; with more room the run is finished."""
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    output = tmp_path / "out.jsonl"
    endpoint = simulated_endpoint()
    words = ["generate", rows, "-o", output, "--base-url", endpoint.url, "--json"]
    full = run_with_room(words, 128)
    assert full.returncode == 4, full.stderr
    assert "out.jsonl" in full.stderr + full.stdout
    assert "Traceback" not in full.stderr
    assert not output.exists()
    said = int(re.findall(r'"ok": ?(\d+)', full.stdout)[-1])
    assert 0 < said < ROWS
    assert stored(output) == said
    _await_what_was_sent(endpoint)
    sent = len(endpoint.generations)
    assert run(*words).returncode == 0
    assert ids_of(rows_of(output)) == [f"row-{n}" for n in range(ROWS)]
    assert len(endpoint.generations) == sent + ROWS - said


@pytest.mark.promise("R12")
def test_no_room_for_the_output(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A disk that fills during the export: exit 4, no part of it left, and no request again."""
    rows = tmp_path / "rows.jsonl"
    text = "x" * 20_000
    rows.write_text("".join(f'{{"prompt": "{n}", "text": "{text}"}}\n' for n in range(40)))
    output = tmp_path / "out.jsonl"
    endpoint = simulated_endpoint()
    words = ["generate", rows, "-o", output, "--base-url", endpoint.url]
    assert run_with_room(words, 400).returncode == 4
    assert not output.exists()
    assert not list(tmp_path.glob("*.part"))
    assert stored(output) == 40
    assert run(*words).returncode == 0
    assert len(rows_of(output)) == 40
    assert len(endpoint.generations) == 40


def test_no_room_for_standard_input(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Rows that come once and do not fit: exit 4 before the first request, nothing left."""
    endpoint = simulated_endpoint()
    output = tmp_path / "out.jsonl"
    command = arguments("generate", "-", "-o", output, "--base-url", endpoint.url)
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 64 && exec "$@"', "sh", *command],
        check=False,
        capture_output=True,
        text=True,
        input='{"prompt": "hello"}\n' * 10_000,
        env=environment(),
        timeout=100,
    )
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert endpoint.generations == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise("R14")
@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes_in_the_journal(simulated_endpoint: Make, tmp_path: Path, seed: int) -> None:
    """Random damage, and the output lost: no crash, the same output again, and the loss is said."""
    rng = random.Random(seed)
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    endpoint = simulated_endpoint()
    flags = ["--base-url", endpoint.url, "--seed", "3"]
    untouched, output = tmp_path / "untouched.jsonl", tmp_path / "out.jsonl"
    assert run("generate", rows, "-o", untouched, *flags).returncode == 0
    assert run("generate", rows, "-o", output, *flags).returncode == 0
    journal = tmp_path / "out.jsonl.journal"
    content = bytearray(journal.read_bytes())
    for place in rng.sample(range(4096, len(content)), 40):
        content[place] ^= rng.randrange(1, 256)
    journal.write_bytes(content)
    output.unlink()
    sent = len(endpoint.generations)
    again = run("generate", rows, "-o", output, *flags)
    assert again.returncode == 0, again.stderr
    assert "Traceback" not in again.stderr
    assert output.read_bytes() == untouched.read_bytes()
    assert len(endpoint.generations) > sent
    assert re.search(r"\d+ damaged records? redone", again.stderr)


def test_an_output_folder_that_is_deleted(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Exit 4 while the run is in progress: nothing can be kept any more, and no crash."""
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    folder = tmp_path / "results"
    folder.mkdir()
    endpoint = simulated_endpoint(latency=Latency(0.2))
    flags = ["--base-url", endpoint.url, "--max-concurrency", "4"]
    process = start("generate", rows, "-o", folder / "out.jsonl", *flags)
    endpoint.wait_for(lambda e: e.statistics().requests >= 8, 30)
    shutil.rmtree(folder)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert "Traceback" not in said
    assert str(folder) in said
    assert len(endpoint.generations) < ROWS
