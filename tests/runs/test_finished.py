"""A finished run, started again: nothing is looked through unless something may have changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import distilabel_endpoints
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.run_state import RunSummary
from distilabel_endpoints.runs import local as runner
from distilabel_endpoints.runs import scan as scanning
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
ROWS = 12


class Bench:
    """One input, one output, and whether the last run read its input."""

    def __init__(self, llm: InferenceEndpointsLLM, folder: Path) -> None:
        self.llm = llm
        self.input, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.scans = 0
        self.write(ROWS)

    def write(self, rows: int) -> None:
        lines = [json.dumps({"prompt": f"Question {n}?"}) for n in range(rows)]
        self.input.write_text("\n".join(lines))

    def run(self, **more: Any) -> RunSummary:
        return distilabel_endpoints.generate_dataset(
            self.llm, self.input, self.output, progress=open_progress("quiet"), **more
        ).summary


@pytest.fixture
def endpoint(simulated_endpoint: Make) -> SimulatedEndpoint:
    return simulated_endpoint()


@pytest.fixture
def bench(
    endpoint: SimulatedEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        bench = Bench(llm, tmp_path)
        scan = scanning.scan

        def counted(*given: Any, **more: Any) -> Any:
            bench.scans += 1
            return scan(*given, **more)

        monkeypatch.setattr(runner, "scan", counted)
        yield bench


def test_nothing_changed(bench: Bench) -> None:
    """The second run reads no row, and says the same of the run as the first did."""
    first, second = bench.run(max_new_tokens=3), bench.run(max_new_tokens=3)
    assert bench.scans == 1
    assert second.resumed == second.ok == first.ok == ROWS
    assert second.pending == 0
    assert (second.answers, second.truncated) == (first.answers, first.truncated)
    assert second.truncated > 0
    assert second.run_tokens == first.run_tokens
    assert second.tokens.output_tokens == 0


def rewrite(bench: Bench) -> None:
    bench.write(ROWS)


def touch(bench: Bench) -> None:
    found = bench.input.stat()
    os.utime(bench.input, ns=(found.st_atime_ns, found.st_mtime_ns))


def cut_output(bench: Bench) -> None:
    bench.output.write_text("")


def remove_output(bench: Bench) -> None:
    bench.output.unlink()


def damage_journal(bench: Bench) -> None:
    path = bench.output.with_name("out.jsonl.journal")
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])


@pytest.mark.parametrize(
    "change", [rewrite, touch, cut_output, remove_output, damage_journal], ids=lambda f: f.__name__
)
def test_what_may_have_changed_is_looked_at(bench: Bench, change: Callable[[Bench], None]) -> None:
    """Input, output or journal not as they were left: all rows are compared, all is repaired."""
    bench.run()
    kept = bench.output.read_bytes()
    change(bench)
    assert bench.run().ok == ROWS
    assert bench.scans == 2
    assert bench.output.read_bytes() == kept


def test_other_options_are_not_taken_for_the_same(bench: Bench) -> None:
    """Other columns, another limit: the output is made anew."""
    bench.run()
    bench.run(column_prefix="ai_")
    assert bench.scans == 2
    assert bench.run(column_prefix="ai_", limit=3).ok == 3
    assert bench.scans == 3
    bench.run(column_prefix="ai_", fresh=True)
    assert bench.scans == 4


def test_appended_rows_after_a_finished_run(bench: Bench, endpoint: SimulatedEndpoint) -> None:
    """They are done, and no other."""
    bench.run()
    bench.run()
    bench.write(ROWS + 2)
    assert bench.run().ok == ROWS + 2
    assert len(endpoint.generations) == ROWS + 2


def test_a_run_with_failed_rows_is_not_over(simulated_endpoint: Make, tmp_path: Path) -> None:
    """They are tried again, though nothing changed."""
    broken = Fault(Respond(422, {"error": "too long"}), marker="Question 3?")
    endpoint = simulated_endpoint(faults=(broken,))
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        bench = Bench(llm, tmp_path)
        assert bench.run().failed == 1
        endpoint.clear_faults()
        assert bench.run().ok == ROWS
