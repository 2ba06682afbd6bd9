"""What the package shows: its names, its plugin, its command, its documentation."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import distilabel_endpoints.testing
from distilabel_endpoints.testing import Settings, SimulatedEndpoint
from distilabel_endpoints.testing.endpoint_settings import SettingsChanges
from distilabel_endpoints.testing.faults import __all__ as fault_names

ROOT = Path(__file__).parents[2]
HEAVY = (
    "aiohttp",
    "distilabel_endpoints.testing.endpoint",
    "distilabel_endpoints.testing.endpoint_settings",
    "huggingface_hub",
)


def test_every_name_is_there_and_no_other() -> None:
    """`__all__` is complete and importable; unknown names are attribute errors."""
    names = distilabel_endpoints.testing.__all__
    assert len(names) == len(set(names))
    assert set(dir(distilabel_endpoints.testing)) == set(names)
    for name in names:
        assert getattr(distilabel_endpoints.testing, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        distilabel_endpoints.testing.nothing  # noqa: B018
    assert set(fault_names) - set(names) == {"BreakKind", "Script"}


def test_changes_are_the_fields_of_settings() -> None:
    """What keyword arguments are typed as is what `Settings` has."""
    assert set(SettingsChanges.__annotations__) == {field.name for field in fields(Settings)}


def loaded(code: str) -> set[str]:
    """Which heavy modules a fresh interpreter has loaded after running `code`."""
    code += f"\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(re.findall(r"'([\w.]+)'", run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module", ["distilabel_endpoints.testing", "distilabel_endpoints.testing.plugin"]
)
def test_importing_costs_nothing(module: str) -> None:
    """Neither the package nor the plugin loads anything of the endpoint."""
    assert loaded(f"import {module}") == set()


def test_the_endpoint_needs_no_client_library() -> None:
    """The server alone does not load huggingface_hub."""
    assert "huggingface_hub" not in loaded(
        "from distilabel_endpoints.testing import SimulatedEndpoint"
    )


def run_suites(*suites: Path) -> subprocess.CompletedProcess[str]:
    """Run pytest on suites of their own, with our plugin and no other."""
    plugin = ["-p", "distilabel_endpoints.testing.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, *map(str, suites)],
        capture_output=True,
        text=True,
        check=False,
        cwd=suites[0].parent,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )


def test_the_plugin_is_registered() -> None:
    """pytest finds it by its entry point."""
    found = {point.value for point in entry_points(group="pytest11")}
    assert "distilabel_endpoints.testing.plugin" in found


def test_the_fixtures_close_what_they_started(tmp_path: Path) -> None:
    """Endpoints end and addresses are put back with the test that asked for them."""
    suite = tmp_path / "test_mine.py"
    suite.write_text(
        "import urllib.request, huggingface_hub.constants\n"
        "seen = []\n"
        "def test_one(simulated_endpoint):\n"
        "    endpoint = simulated_endpoint(flavor='vllm', slots=4)\n"
        "    seen.append(endpoint)\n"
        "    with urllib.request.urlopen(endpoint.url + '/version') as response:\n"
        "        assert response.status == 200\n"
        "def test_two(simulated_hugging_face):\n"
        "    assert not [1 for it in seen if it._thread is not None]\n"
        "    endpoint = simulated_hugging_face()\n"
        "    assert huggingface_hub.constants.ENDPOINT == endpoint.hub_url\n"
        "def test_three():\n"
        "    assert '127.0.0.1' not in huggingface_hub.constants.ENDPOINT\n"
    )
    run = run_suites(suite)
    assert "3 passed" in run.stdout, run.stdout + run.stderr


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The command running, and the URL it said."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "distilabel_endpoints.testing", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_told_to_stop(number: signal.Signals) -> None:
    """One line when ready, one with the counters at the end, exit code 0."""
    process, url = start("--flavor", "vllm", "--model", "m", "--latency", "0.01")
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    with urllib.request.urlopen(f"{url}/v1/chat/completions", data=body, timeout=10) as response:
        assert json.load(response)["choices"]
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    said = json.loads(out)
    assert (process.returncode, err) == (0, "")
    assert said["requests"] == 1
    assert said["by_status"] == {"200": 1}
    assert said["latencies"] == [0.01]


def test_the_command_knows_the_built_in_servers() -> None:
    """`--server` takes one of the nine."""
    process, url = start("--server", "D", "--model", "m")
    with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as response:
        assert json.load(response)["data"][0]["id"] == "m"
    process.terminate()
    process.communicate(timeout=20)


BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/testing.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_the_documentations_scripts_run() -> None:
    """Every Python block of docs/testing.md that is not a test runs as it stands."""
    scripts = [block for block in BLOCKS if "def test_" not in block]
    assert len(scripts) >= 4
    for block in scripts:
        exec(compile(block, "docs/testing.md", "exec"), {"__name__": "__main__"})


def test_the_documentations_tests_pass(tmp_path: Path) -> None:
    """Every Python block of docs/testing.md that is a test passes."""
    blocks = [block for block in BLOCKS if "def test_" in block]
    assert len(blocks) >= 3
    suites = [tmp_path / f"test_block_{number}.py" for number in range(len(blocks))]
    for suite, block in zip(suites, blocks, strict=True):
        suite.write_text(block)
    run = run_suites(*suites)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_documentation_names_every_public_name() -> None:
    """docs/testing.md mentions all of `__all__`."""
    text = (ROOT / "docs/testing.md").read_text()
    missing = [name for name in distilabel_endpoints.testing.__all__ if name not in text]
    assert missing == []


def test_the_class_documents_its_use() -> None:
    """The docstring of the package holds an example."""
    assert "SimulatedEndpoint(" in (distilabel_endpoints.testing.__doc__ or "")
    assert SimulatedEndpoint.__doc__
