"""`docs/servers.md` says what works, for every server, client and path, and links the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from distilabel_endpoints.records import Route, Server

ROOT = Path(__file__).parents[2]
SERVERS = {
    "TGI": "tgi-",
    "vLLM": "vllm-",
    "SGLang": "sglang-",
    "llama.cpp": "llamacpp-",
    "OpenAI": "openai-",
    "": "",
}
CLIENTS = {"default": "hub", "openai": "openai"}
ROW = re.compile(r"^\| (?:([\w.]+) \| )?(default|openai) \| (chat|text) \| (.*) \|$", re.MULTILINE)
CELL = re.compile(r'\[(?:yes|no|not by)[^\]]*\]\(\.\./tests/llms/(\w+\.py) "(test_\w+)"\)|-')
ROWS = [
    (SERVERS[server] + f"{CLIENTS[client]}_{path}", cells.split(" | "))
    for server, client, path, cells in ROW.findall((ROOT / "docs/servers.md").read_text())
]


MODULES = ("tests/llms/test_dialects.py", "tests/llms/test_real_llama.py")


@pytest.fixture(scope="module")
def collected(request: pytest.FixtureRequest) -> set[tuple[str, str]]:
    """Every test of the two modules, as its name and its id."""
    here = [item.nodeid for item in request.session.items]
    if all(any(name.startswith(module) for name in here) for module in MODULES):
        return set(re.findall(r"::(\w+)\[(.+)\]$", "\n".join(here), re.MULTILINE))
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"::(\w+)\[(.+)\]$", listed.stdout, re.MULTILINE))


def test_the_page_names_tests_that_exist(collected: set[tuple[str, str]]) -> None:
    """Each cell is words that link to a test, which has a case whose id ends with the row."""
    cells = [(row, CELL.fullmatch(cell)) for row, cells in ROWS for cell in cells]
    named = {(row, cell[2]) for row, cell in cells if cell and cell[2]}
    assert all(cell for _, cell in cells)
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


REAL = {
    "test_request": "test_answers",
    "test_choices": "test_several_answers",
    "test_seeds": "test_seeds",
    "test_json": "test_json",
    "test_regex": "test_words",
    "test_choice": "test_words",
    "test_stream": "test_streams",
    "test_logprobs": "test_logprobs",
    "test_tools": "test_tools",
}
"""Tests of the simulated endpoint, and those that make the same calls on real servers."""


def test_what_was_seen_on_real_servers_has_a_test_there() -> None:
    """A cell says so if `make prove` makes its call there, or the real llama.cpp has its test."""
    source = (ROOT / "tests/real_servers/test_documented_calls.py").read_text()
    table = (ROOT / "docs/servers.md").read_text().partition("## Seen on real servers")[2]
    assert all(f"def {name}(" in source for name in REAL.values())
    seen = {
        (row, test)
        for row, cells in ROWS
        for cell in cells
        for test in re.findall(r'\[yes, seen\]\(\S+ "(\w+)"\)', cell)
    }
    chat = {
        f"{server}-{client}_chat" for server in ("vllm", "llamacpp") for client in ("hub", "openai")
    }
    # Without the options for tools, vLLM refuses them: only the error was seen.
    refused = {(row, "test_tools") for row in chat if row.startswith("vllm")}
    assert seen.isdisjoint(refused)
    assert seen >= {(row, test) for row in chat for test in REAL} - refused
    assert {row for row, _ in seen} == chat | {"llamacpp-openai_text"}
    assert {test for _, test in seen} == set(REAL)
    assert all(f"| {name} | " in table for name in ("llama.cpp", "vLLM"))
