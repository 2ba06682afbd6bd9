"""`docs/servers.md` names tests that exist, for every server, client and path."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from distilabel_endpoints.records import Route, Server

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([a-z]+-)?((?:hub|openai)_(?:chat|text))` \| (.*) \|$", re.MULTILINE)
ROWS = [
    (server + route, re.findall(r"`(test_\w+)`", cells))
    for server, route, cells in ROW.findall((ROOT / "docs/servers.md").read_text())
]


@pytest.fixture(scope="module")
def collected() -> set[tuple[str, str]]:
    """Every test of the two modules, as its name and its id."""
    modules = ["tests/llms/test_dialects.py", "tests/llms/test_real_llama.py"]
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"::(\w+)\[(.+)\]$", listed.stdout, re.MULTILINE))


def test_the_page_names_tests_that_exist(collected: set[tuple[str, str]]) -> None:
    """Each cell's test has a case whose id ends with the row's name."""
    named = {(row, test) for row, tests in ROWS for test in tests}
    missing = {
        (row, test)
        for row, test in named
        if not any(name == test and re.search(rf"(^|-){row}(-|$)", id_) for name, id_ in collected)
    }
    assert not missing
    assert len(named) > 150


def test_the_page_has_every_combination() -> None:
    """Five servers by four paths."""
    servers = (Server.TGI, Server.VLLM, Server.SGLANG, Server.LLAMACPP, Server.OPENAI)
    assert {f"{server}-{route}" for server in servers for route in Route} <= {
        row for row, _ in ROWS
    }
