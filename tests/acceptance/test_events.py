"""`docs/events.md` against the events of real runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command import run

from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


def documented(heading: str) -> list[str]:
    """The fields that a section of the page describes, in order."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run that waits for its endpoint, has a row that fails, and something to remark."""
    folder = tmp_path_factory.mktemp("events")
    prompts = ("fine", "refused", "\0")
    (folder / "in.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    faults = (
        Fault(Respond(503, {"error": "loading"}), path="/v1/models", times=5),
        Fault(Respond(400, {"error": "too long"}), marker="refused"),
    )
    words = ("generate", folder / "in.jsonl", "-o", folder / "out.csv", "--json")
    with SimulatedEndpoint(faults=faults) as endpoint:
        done = run(*words, "--base-url", endpoint.url)
    assert done.returncode == 2, done.stderr
    assert done.stderr == ""
    return list(done.stdout.splitlines())


def test_the_page_describes_what_a_run_emits(lines: list[str]) -> None:
    """Every event has the fields of its section, in that order, and no other; so has a failure."""
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert {event["event"] for event in events} == {"progress", "message", "finished"}
    for event in events:
        assert list(event)[1:] == documented(event["event"])
    last = events[-1]
    assert (last["event"], last["ok"], last["failed"]) == ("finished", 2, 1)
    assert list(last["failures"][0]) == documented("failures")
    phases = [event["phase"] for event in events if event["event"] == "progress"]
    assert set(phases) <= set(re.findall(r"`(\w+)`", PAGE.split("| `phase` |")[1].split("\n")[0]))


def test_a_wait_is_an_event(lines: list[str]) -> None:
    """What is waited for, and for how long so far; nothing of it is left when it is over."""
    events = [json.loads(line) for line in lines]
    progress = [event for event in events if event["event"] == "progress"]
    waits = [event["waiting"] for event in progress if event["phase"] == "waiting"]
    assert "is not ready" in waits[0]["text"]
    assert waits[0]["elapsed"] >= 0
    assert progress[-1]["waiting"] is None


def test_the_example_is_a_line_that_a_run_emits(lines: list[str]) -> None:
    """The lines shown on the page are among those of the run, character for character."""
    examples = re.findall(r"^\{.*\}$", PAGE, re.MULTILINE)
    assert examples
    assert set(examples) <= set(lines)
