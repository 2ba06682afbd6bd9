"""What a command loads and whom it talks to, before its first row is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command import arguments, environment, run, write_rows

from distilabel_endpoints.testing import SimulatedEndpoint

UNUSED = {
    "datasets",
    "getpass",
    "httpx",
    "jinja2",
    "jsonschema_rs",
    "openai",
    "pyarrow",
    "pygments",
    "ray",
    "rich",
    "tomllib",
    "transformers",
}
"""Libraries that a run from JSON lines to JSON lines, with no terminal, has no use for."""
SENDING = {"huggingface_hub", "aiohttp", "httpx2", "pydantic", "asyncio"}
"""Those that only a command which sends needs."""


def loaded(*words: object) -> set[str]:
    """The modules that a command which ends well has imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments(*words)[1:]],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-800:]
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_a_command_loads_only_the_libraries_that_it_uses(tmp_path: Path) -> None:
    """Each of them would cost every start of the command some of its time."""
    rows, output = write_rows(tmp_path / "rows.jsonl", 1), tmp_path / "answers.jsonl"
    with SimulatedEndpoint() as server:
        modules = loaded("generate", rows, "-o", output, "--base-url", server.url)
    assert modules >= SENDING
    assert not modules & UNUSED
    assert not loaded("status", output) & (UNUSED | SENDING)


def test_a_command_does_not_look_for_garbage_when_it_ends() -> None:
    """All that it has loaded would be gone through, for nothing."""
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 10_000));"
        "from distilabel_endpoints.cli import main; main()"
    )
    words = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, env=environment(), timeout=100
    )
    assert done.stdout.splitlines()[-1] == "True"


def test_a_run_talks_to_nobody_but_its_endpoint(tmp_path: Path) -> None:
    """With telemetry left on: the Hub's library would ask the Hub for what goes into a header."""
    rows, output = write_rows(tmp_path / "rows.jsonl", 2), tmp_path / "answers.jsonl"
    with SimulatedEndpoint() as server, SimulatedEndpoint() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub")}
        words = ("generate", rows, "-o", output, "--base-url", server.url)
        done = run(*words, HF_HUB_DISABLE_TELEMETRY="0", **settings)
        assert done.returncode == 0, done.stderr[-800:]
        assert server.requests
        assert not hub.requests
