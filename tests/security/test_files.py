"""What a run leaves on the disk: its owner's alone, under the names that were given."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import arguments, environment, run

from distilabel_endpoints.testing import Latency, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

PATHS = [
    "../../escaped",
    "/tmp/escaped",
    "a/b",
    "..",
    "out.jsonl",
    "con\x00trol",
    "~/.netrc",
    "%2e",
]


def files_of(folder: Path) -> dict[str, int]:
    """Every file under a folder, with its permissions."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
        if not path.is_dir()
    }


@pytest.mark.promise("S10")
@pytest.mark.promise("S14")
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_run_leaves_its_owners_files_only(
    simulated_endpoint: Make, tmp_path: Path, ending: str
) -> None:
    """Whatever the umask, while it runs and afterwards; whatever paths the rows are full of."""
    endpoint = simulated_endpoint(latency=Latency(0.3), reply=lambda asked: PATHS[0])
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    lines = [{"id": path, "file": path, "prompt": path} for path in PATHS]
    given = "".join(json.dumps(line) + "\n" for line in lines)
    words = ["generate", "-", "-o", folder / f"out.{ending}", "--base-url", endpoint.url]
    process = subprocess.Popen(
        arguments(*words, "--max-concurrency", "2"),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        umask=0,
    )
    assert process.stdin is not None
    process.stdin.write(given)
    process.stdin.close()
    process.stdin = None
    endpoint.wait_for(lambda e: e.statistics().requests >= 3, 30)
    during = files_of(tmp_path)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    after = files_of(tmp_path)
    assert {Path(name).parent for name in during | after} == {Path("in/here")}
    assert all(Path(name).name.startswith(f"out.{ending}") for name in during | after)
    assert f"in/here/out.{ending}.journal" in during
    assert f"in/here/out.{ending}" in after
    assert set((during | after).values()) == {0o600}
    assert not Path("/tmp/escaped").exists()


@pytest.mark.promise("S10")
@pytest.mark.parametrize("link", ["out.jsonl", "out.jsonl.journal"])
def test_no_link_is_written_through(simulated_endpoint: Make, tmp_path: Path, link: str) -> None:
    """A link in the place of output or journal: refused before a request, its target untouched."""
    endpoint = simulated_endpoint()
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "hello"}\n')
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / link).symlink_to(precious)
    done = run("generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url)
    assert done.returncode in {1, 4}
    assert "link" in done.stderr
    assert precious.read_text() == "precious"
    assert (tmp_path / link).readlink() == precious
    assert not endpoint.generations
