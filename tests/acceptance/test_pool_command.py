"""The command line with several endpoints: one run, whatever becomes of the list."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ids_of, rows_of, run, start, write_rows

from distilabel_endpoints.testing import Fault, Latency, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


def test_a_run_over_two_endpoints_goes_on_over_others(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """R3: both are used and one dies; when all are gone the run stops; it resumes with a new one,
    no row is lost or done twice, and the bytes are those of a run over a single endpoint."""
    rows = write_rows(tmp_path / "rows.jsonl", 400)
    first, second, third = (
        simulated_endpoint(flavor="vllm", slots=4, latency=Latency(0.03)) for _ in range(3)
    )
    output, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    words = ["generate", rows, "-o", output, "--seed", 7, "--max-concurrency", 8]
    urls = ["--base-url", first.url, "--base-url", second.url]
    process = start(*words, *urls, "--wait-ready", "2")
    first.wait_for(lambda e: e.statistics().by_status.get(200, 0) > 40, 30)
    first.refuse_connections()
    first.drop_connections()
    second.wait_for(lambda e: e.statistics().by_status.get(200, 0) > 120, 30)
    second.refuse_connections()
    second.drop_connections()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "none of the 2 endpoints answers" in said
    assert "0 failed" in run("status", output).stdout
    done = run(*words, "--base-url", third.url)
    assert done.returncode == 0, done.stderr
    assert ids_of(rows_of(output)) == [f"row-{n}" for n in range(400)]
    answered = sum(e.statistics().by_status.get(200, 0) for e in (first, second, third))
    assert 400 <= answered <= 416
    alone = ["generate", rows, "-o", whole, "--seed", 7, "--base-url", third.url]
    assert run(*alone).returncode == 0
    assert whole.read_bytes() == output.read_bytes()


def test_a_permission_lost_at_one_stops_the_run_with_its_url(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """Exit 3, and the endpoint is named; without it the run resumes."""
    rows = write_rows(tmp_path / "rows.jsonl", 200)
    well = simulated_endpoint(latency=Latency(0.02))
    revoked = Fault(Respond(403))
    bad = simulated_endpoint(latency=Latency(0.02), faults=(revoked,))
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--max-concurrency", "4"]
    done = run(*words, "--base-url", well.url, "--base-url", bad.url)
    assert done.returncode == 3
    assert bad.url in done.stderr
    assert run(*words, "--base-url", well.url).returncode == 0
    assert len(rows_of(tmp_path / "out.jsonl")) == 200


@pytest.mark.parametrize("ending", ["toml", "yaml"])
def test_a_settings_file_lists_them_too(
    simulated_endpoint: Make, tmp_path: Path, ending: str
) -> None:
    """`base_url` is a URL or a list of them; the plan shows each."""
    rows = write_rows(tmp_path / "rows.jsonl", 8)
    endpoints = [simulated_endpoint(flavor=flavor) for flavor in ("vllm", "tgi")]
    urls = [endpoint.url for endpoint in endpoints]
    config = tmp_path / f"settings.{ending}"
    key = "base_url = " if ending == "toml" else "base_url: "
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--config", config]
    config.write_text(key + json.dumps(urls))
    shown = run(*words, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert f"url           {urls[0]} (vllm)\nurl           {urls[1]} (tgi)\n" in shown.stdout
    assert run(*words).returncode == 0
    config.write_text(key + json.dumps(urls[0]))
    assert run(*words, "--fresh").returncode == 0
    assert len(rows_of(tmp_path / "out.jsonl")) == 8


def test_different_models_are_refused_before_the_first_row(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """Exit 1, both named, and nothing begun."""
    rows = write_rows(tmp_path / "rows.jsonl", 8)
    one, two = (simulated_endpoint(model=name) for name in ("org/one", "org/two"))
    output = tmp_path / "out.jsonl"
    done = run("generate", rows, "-o", output, "--base-url", one.url, "--base-url", two.url)
    assert done.returncode == 1
    assert "org/one" in done.stderr
    assert "org/two" in done.stderr
    assert one.generations == two.generations == ()
    assert not output.exists()
