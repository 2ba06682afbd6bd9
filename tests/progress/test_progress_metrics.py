"""Metrics: Prometheus text of a run, on this machine only, documented name by name."""

from __future__ import annotations

import io
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.progress.metrics import MeteredProgress, metrics_text
from distilabel_endpoints.records import Answer, Completion, FailureKind, Usage
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, TokenCount, Waiting
from distilabel_endpoints.served import Served

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
LINE = re.compile(r'[a-z_]+(\{[a-z]+="([^"\\\n]|\\.)*"(,[a-z]+="([^"\\\n]|\\.)*")*\})? [-+.e\d]+')


@pytest.fixture
def snapshot() -> RunSnapshot:
    served = Served()
    answer = Answer(completions=(Completion(text="x"),), usage=Usage(3, 4), first_token=0.25)
    served.add(answer, 1.5)
    return RunSnapshot(
        elapsed=12.0,
        phase=RunPhase.RUNNING,
        total=100,
        ok=7,
        failed=2,
        in_flight=3,
        limit=8,
        run_tokens=TokenCount(input_tokens=30, output_tokens=40),
        retries={FailureKind.THROTTLE: 5},
        waiting=Waiting("throttled"),
        served={('http://one/"\\\n', "p"): served},
    )


def test_every_line_is_prometheus_text(snapshot: RunSnapshot) -> None:
    """Samples with their HELP and TYPE, whatever an endpoint is called."""
    lines = metrics_text(snapshot).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert [line for line in samples if not LINE.fullmatch(line)] == []
    assert 'distilabel_endpoints_rows{state="ok"} 7' in samples
    assert "distilabel_endpoints_limit 8" in samples
    assert 'distilabel_endpoints_retries_total{kind="throttle"} 5' in samples
    assert "distilabel_endpoints_waiting 1" in samples
    assert metrics_text(None) == ""


def test_every_name_is_documented(snapshot: RunSnapshot) -> None:
    """No more and no less than docs/events.md says."""
    named = set(re.findall(r"# TYPE (\S+)", metrics_text(snapshot)))
    assert named == set(re.findall(r"^\| `(distilabel_endpoints_\w+)`", PAGE, re.MULTILINE))


def test_they_are_served_while_the_run_goes_on(snapshot: RunSnapshot) -> None:
    """On 127.0.0.1, at /metrics and nowhere else, and gone afterwards."""
    display = open_progress("plain", stream=io.StringIO())
    with MeteredProgress(display, 0) as progress:
        address = f"http://127.0.0.1:{progress.port}"
        with urllib.request.urlopen(f"{address}/metrics") as response:
            assert response.read() == b""
        progress.update(snapshot)
        with urllib.request.urlopen(f"{address}/metrics") as response:
            assert response.read().decode() == metrics_text(snapshot)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{address}/")
        caught.value.close()
        taken = MeteredProgress(open_progress("quiet"), progress.port or 0)
        with pytest.raises(ConfigurationError, match="cannot be used"):
            taken.__enter__()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/metrics")
