"""The promises this project makes, and that every one of them has a test.

A test says which it proves with `@pytest.mark.promise("R7")`; `pytest -m promise` runs them all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "distilabel_endpoints"

RELIABILITY = {
    "R1": "Killed at any moment, any number of times: no row lost, none twice.",
    "R2": "The output of a killed run has the bytes of an uninterrupted one.",
    "R3": "A kill costs at most the requests in flight and one commit.",
    "R4": "Every failure an endpoint is known for has one outcome, the same for both clients.",
    "R5": "With half of all requests refused at random every row finishes, at 80 % of the goodput.",
    "R6": "An endpoint that starts for six minutes fails no row and gets at most 60 probes.",
    "R7": "The 400 of a paused endpoint fails no row.",
    "R8": "In an outage retries are a fifth of the answers plus fifty, then probes; no row fails.",
    "R9": "Memory does not grow with the number of rows.",
    "R10": "Nothing grows over hours: memory, files, threads, tasks.",
    "R11": "A second process on one output leaves with exit 5; the first is unharmed.",
    "R12": "A disk that is full at any write: what was acknowledged is on the disk.",
    "R13": "A failed fsync stops the run; it is not tried again.",
    "R14": "Any damage to a journal: no crash, no wrong row, the loss is said and redone.",
    "R15": "A wall clock that jumps by a day changes nothing.",
    "R16": "A dedicated endpoint that a run woke sleeps again, whatever ended the run.",
}
SECURITY = {
    "S1": "A token is in no repr, log, exception, traceback, pickle, journal or output.",
    "S2": "Prompts are in no exception, and in no log above DEBUG.",
    "S3": "Secrets are not serialised.",
    "S4": "Credentials and prompts go to the configured origin only.",
    "S5": "No token goes over plain http, but to this machine.",
    "S6": "TLS is always verified; a private authority can be named.",
    "S7": "What a model or a server says cannot drive the terminal.",
    "S8": "A report escapes what it shows; the page loads nothing and runs nothing.",
    "S9": "With `--escape-formulas` CSV output holds no formulas, reversibly.",
    "S10": "Row data never becomes a path; links are not written through.",
    "S11": "Templates run in a sandbox, with a limit on time and on the length of the prompt.",
    "S12": "Nothing is unpickled or evaluated.",
    "S13": "A response is bounded in bytes, headers and depth.",
    "S14": "Files are their owner's alone.",
}


def marks(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Promise, test and whether `make test` runs it, of each marked test of a file."""
    text = path.read_text(encoding="utf-8")
    if "pytest.mark.promise(" not in text:
        return  # most files, and reading them as Python takes its time
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        shown = [ast.unparse(decorator) for decorator in node.decorator_list]
        always = "pytest.mark.prove" not in shown
        for decorator in node.decorator_list:
            if ast.unparse(decorator).startswith("pytest.mark.promise("):
                assert isinstance(decorator, ast.Call)
                assert node.name.lower().startswith("test"), node.name
                for name in decorator.args:
                    yield ast.literal_eval(name), f"{path.name}::{node.name}", always


@pytest.fixture(scope="module")
def proofs() -> dict[str, dict[str, bool]]:
    """The tests of each promise, and whether `make test` runs them."""
    found: dict[str, dict[str, bool]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, test, always in marks(path):
            found.setdefault(name, {})[test] = always
    return found


@pytest.mark.parametrize("name", [*RELIABILITY, *SECURITY])
def test_every_promise_is_proven(name: str, proofs: dict[str, dict[str, bool]]) -> None:
    """Each has a test that `make test` runs."""
    found = proofs.get(name, {})
    assert any(found.values()), found


def test_no_other_promise_is_named(proofs: dict[str, dict[str, bool]]) -> None:
    """A mark names a promise that is made here."""
    assert proofs.keys() <= RELIABILITY.keys() | SECURITY.keys()


def test_html_is_written_where_it_is_shown_to_be_escaped() -> None:
    """S8 is shown for the templates of `report/` and for two modules: no other makes HTML."""
    sources = {
        path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
    }
    made = ("text/html", "<html", "<table")
    pages = [name for name, text in sources.items() if any(sign in text for sign in made)]
    # The simulated endpoint imitates gateways; the clients recognise what those send.
    readers = ("testing/", "_clients/transport.py", "_clients/error_text.py")
    makers = ("html_text.py", "progress/notebook.py")
    assert not [page for page in pages if not page.startswith(readers + makers)]
    shown = [text for text in sources.values() if "_repr_html_" in text]
    assert all("html_text import" in text for text in shown)
