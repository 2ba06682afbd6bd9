"""Runs with a budget or a pilot, against a simulated endpoint that bills what it generates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.errors import BudgetError, ConfigurationError
from distilabel_endpoints.progress.report import spent_text
from distilabel_endpoints.run_state import RunEnding
from distilabel_endpoints.runs.status import read_status
from distilabel_endpoints.testing import Fault, Rewrite, SimulatedEndpoint, edits


@pytest.fixture
def endpoint() -> Any:
    """Answers of about twenty tokens."""
    with SimulatedEndpoint() as server:
        yield server


def rows(count: int) -> list[dict[str, str]]:
    """Prompts that differ."""
    return [{"prompt": f"Say something about the number {n}."} for n in range(count)]


def test_spent_is_what_the_server_counted(endpoint: SimulatedEndpoint, tmp_path: Path) -> None:
    """Without faults the ledger is the server's bill, in the summary and in the status."""
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    out = tmp_path / "out.jsonl"
    run = generate_dataset(llm, rows(50), out, price_in=1, price_out="2.5")
    spent = run.summary.spent
    assert spent is not None
    tokens = run.summary.run_tokens
    assert spent.tokens == tokens.input_tokens + tokens.output_tokens
    assert spent.unknown_tokens == 0
    dollars = (tokens.input_tokens + 2.5 * tokens.output_tokens) / 10**6
    assert spent.dollars == pytest.approx(dollars, abs=1e-12)
    status = read_status(out)
    assert status.spent is not None
    assert (status.spent.tokens, status.spent.dollars) == (spent.tokens, spent.dollars)


def test_a_budget_stops_the_run_and_a_larger_one_resumes_it(
    endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """Nothing is spent beyond it, and what was paid for is not sent again."""
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    out = tmp_path / "out.jsonl"
    with pytest.raises(BudgetError, match="larger --budget") as stopped:
        generate_dataset(llm, rows(300), out, budget="5ktok")
    summary = stopped.value.summary
    assert (summary.ending, summary.exit_code) == (RunEnding.BUDGET, 6)
    assert 0 < summary.ok < 300
    assert summary.spent.budget == "5ktok"
    assert 4_500 < summary.spent.tokens <= 5_000
    sent = len(endpoint.generations)
    run = generate_dataset(llm, rows(300), out, budget="1Mtok")
    assert run.summary.ok == 300
    assert len(endpoint.generations) - sent == 300 - summary.ok
    assert run.summary.spent is not None
    assert run.summary.spent.tokens > summary.spent.tokens


def test_dollars_need_a_price(endpoint: SimulatedEndpoint, tmp_path: Path) -> None:
    """Where nobody names one, the budget is refused before anything is sent."""
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    with pytest.raises(ConfigurationError, match=r"needs a price.*budget in tokens"):
        generate_dataset(llm, rows(3), tmp_path / "out.jsonl", budget="$1")
    assert not endpoint.generations
    with pytest.raises(ConfigurationError, match="belong together"):
        generate_dataset(llm, rows(3), tmp_path / "out.jsonl", price_in=1)


def test_a_pilot_waits_for_a_yes_and_its_rows_are_the_runs_own(
    endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """The cohort is answered, the forecast made, and the rest is sent once somebody says so."""
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    out = tmp_path / "out.jsonl"
    run = generate_dataset(llm, rows(400), out, pilot=50, price_in=1, price_out=1)
    assert (run.summary.ending, run.summary.exit_code) == (RunEnding.PILOT, 8)
    assert run.summary.ok == 50 == len(endpoint.generations)
    assert run.summary.forecast is not None
    assert "yes=True" in (run.summary.reason or "")
    made = run.summary.forecast
    assert (made["rows"], made["sample"]) == (400, 50)
    run = generate_dataset(llm, rows(400), out, pilot=50, price_in=1, price_out=1, yes=True)
    assert run.summary.ok == 400 == len(endpoint.generations)
    tokens = run.summary.run_tokens
    for name, truth in (
        ("input_tokens", tokens.input_tokens),
        ("output_tokens", tokens.output_tokens),
        ("dollars", (tokens.input_tokens + tokens.output_tokens) / 10**6),
    ):
        assert made[name]["low"] * 0.9 <= truth <= made[name]["high"] * 1.1


def test_a_fresh_start_spends_anew(endpoint: SimulatedEndpoint, tmp_path: Path) -> None:
    """With --fresh the books are empty, as the journal is."""
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    out = tmp_path / "out.jsonl"
    first = generate_dataset(llm, rows(20), out).summary.spent
    again = generate_dataset(llm, rows(20), out, fresh=True).summary.spent
    assert first is not None
    assert again is not None
    assert again.tokens == first.tokens


@pytest.mark.parametrize("pilot", [0, 5, True, "200"])
def test_a_pilot_of_too_few_rows_is_refused(
    pilot: Any, endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """Before anything is sent, with a number that works."""
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    with pytest.raises(ConfigurationError, match="200 is a good number"):
        generate_dataset(llm, rows(3), tmp_path / "out.jsonl", pilot=pilot)


def test_the_events_have_what_was_spent(
    endpoint: SimulatedEndpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`progress` and `finished` name it."""
    from distilabel_endpoints.progress import open_progress

    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    shown = open_progress("json")
    generate_dataset(llm, rows(5), tmp_path / "out.jsonl", progress=shown)
    last = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert last["spent"]["tokens"] > 0
    assert last["spent"]["dollars"] is None
    assert last["forecast"] is None


def test_dollars_are_what_the_provider_charged(tmp_path: Path) -> None:
    """Where an answer says what it cost, that is spent; the price only reserves, and is enough."""
    charges = Fault(Rewrite(edits.charged({"cost": 0.0001})))
    with SimulatedEndpoint(faults=(charges,)) as endpoint:
        llm = InferenceEndpointsLLM(base_url=endpoint.url)
        free = generate_dataset(llm, rows(10), tmp_path / "a.jsonl", price_in=0, price_out=0)
        assert free.summary.spent is not None
        assert free.summary.spent.dollars == pytest.approx(0.001, abs=1e-12)
        unpriced = generate_dataset(llm, rows(10), tmp_path / "b.jsonl").summary.spent
        assert unpriced is not None
        assert unpriced.dollars is None
        out = tmp_path / "c.jsonl"
        with pytest.raises(BudgetError) as stopped:
            generate_dataset(llm, rows(300), out, budget="$0.01", price_in=1, price_out=10)
        spent = stopped.value.summary.spent
        assert spent is not None
        assert spent.dollars == pytest.approx(0.0001 * stopped.value.summary.ok, abs=1e-12)
        assert 0.007 < spent.dollars <= 0.01


def test_the_report_has_what_was_spent(endpoint: SimulatedEndpoint, tmp_path: Path) -> None:
    """In the words of the summary."""
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    out = tmp_path / "out.jsonl"
    spent = generate_dataset(llm, rows(5), out, price_in=1, price_out=2, report=True).summary.spent
    assert spent is not None
    page = (tmp_path / "out.jsonl.report.html").read_text(encoding="utf-8")
    assert spent_text(spent).partition(",")[0] in page
