"""`tune`: a second process slows, pauses and resumes a run; what changed is in the journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import run, start, write_rows

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._store.control import Tuning, control_path, write_control
from distilabel_endpoints._store.history import History
from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints.dataset import generate_dataset
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.runs.steering import Steering, tune
from distilabel_endpoints.testing import Latency, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


def test_a_run_is_paused_slowed_and_resumed(simulated_endpoint: Make, tmp_path: Path) -> None:
    """From outside, during the run: nothing is sent meanwhile, and every row is answered once."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.2))
    rows, output = write_rows(tmp_path / "rows.jsonl", 300), tmp_path / "out.jsonl"
    words = ("--base-url", endpoint.url, "--max-concurrency", 8, "--json")
    running = start("generate", rows, "-o", output, *words)
    assert running.stdout is not None

    def wait_for(is_so: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        for line in running.stdout or ():
            event = json.loads(line)
            if event["event"] == "progress" and is_so(event):
                return dict(event)
        raise AssertionError(running.stderr.read() if running.stderr else "")

    try:
        wait_for(lambda event: bool(event["ok"]))
        assert run("tune", output, "--pause").returncode == 0
        paused = wait_for(lambda event: bool(event["waiting"]) and event["in_flight"] == 0)
        assert paused["waiting"] == {"text": "paused by tune", "elapsed": 0.0, "remaining": None}
        sent = len(endpoint.generations)
        wait_for(lambda event: bool(event["waiting"]))
        wait_for(lambda event: bool(event["waiting"]))
        assert len(endpoint.generations) == sent < 300
        assert run("tune", output, "--resume", "--max-concurrency", "20").returncode == 0
        faster = wait_for(lambda event: int(str(event["in_flight"])) > 8)
        assert int(str(faster["in_flight"])) <= 20
    finally:
        running.communicate(timeout=100)
    assert running.returncode == 0
    assert len(endpoint.generations) == 300 == len(output.read_text().splitlines())
    with Reader(output) as reader:
        changes = reader.note("steering")
    assert [change.partition(" (by ")[0] for change in changes] == [
        "paused",
        "max_concurrency is now 20, resumed",
    ]
    history = [change.text for change in History.read(output).changes if change.kind == "tune"]
    assert history == changes
    assert not control_path(output).exists()


def test_a_wish_before_the_first_request_counts(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A run may look through its input, or wait for its endpoint, for long; tuning works then."""
    endpoint = simulated_endpoint(flavor="vllm")
    output = tmp_path / "out.jsonl"

    def rows() -> Iterator[dict[str, str]]:
        yield {"prompt": "one"}
        tune(output, max_concurrency=3)
        yield {"prompt": "two"}

    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        generate_dataset(llm, rows(), output, progress=open_progress("quiet"))
    with Reader(output) as reader:
        assert [text.partition(" (")[0] for text in reader.note("steering")] == [
            "max_concurrency is now 3"
        ]
    assert not control_path(output).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to change"),
        (["--pause"], "no run is writing"),
        (["--max-concurrency", "0"], "--max-concurrency"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    """With exit 1, and nothing is left on the disk."""
    done = run("tune", tmp_path / "out.jsonl", *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_ours_is_told_once(tmp_path: Path) -> None:
    """And not obeyed; the next good one is."""
    output = tmp_path / "out.jsonl"
    applied: list[int] = []
    told: list[str] = []
    steering = Steering(
        output, most=8, apply=applied.append, spend=lambda _: None, report=told.append
    )
    write_control(output, Tuning(paused=True, by="x"))
    control_path(output).chmod(0o666)
    for _ in range(3):
        steering.look()
    assert (applied, len(told)) == ([], 1)
    write_control(output, Tuning(max_concurrency=4, by="x"))
    steering.look()
    steering.look()
    steering.close()
    assert applied == [4, 8]


def test_the_budget_of_a_running_run_is_changed(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A smaller one ends the run with its exit code, and dollars without a price are refused."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.5))
    rows, output = write_rows(tmp_path / "rows.jsonl", 2000), tmp_path / "out.jsonl"
    words = ("--base-url", endpoint.url, "--max-concurrency", 4, "--budget", "1Mtok")
    running = start("generate", rows, "-o", output, *words)
    endpoint.wait_for(lambda _: len(endpoint.generations) > 3, timeout=60)
    assert run("tune", output, "--budget", "$5").returncode == 0
    endpoint.wait_for(lambda _: len(endpoint.generations) > 20, timeout=60)
    assert run("tune", output, "--budget", "a lot").returncode == 1
    assert run("tune", output, "--budget", "6ktok").returncode == 0
    _, shown = running.communicate(timeout=100)
    assert running.returncode == 6, shown
    tokens = sum(r.input_tokens + r.output_tokens for r in endpoint.generations)
    assert 5_000 < tokens <= 6_000
    with Reader(output) as reader:
        refused, changed = reader.note("steering")
    assert "needs a price" in refused
    assert changed.startswith("the budget is now 6ktok (by ")
