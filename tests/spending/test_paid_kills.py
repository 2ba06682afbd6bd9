"""Budgets of real processes that are killed, judged by what the endpoint generated for them."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command import run, start, write_rows

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.errors import BudgetError
from distilabel_endpoints.runs.status import read_status
from distilabel_endpoints.testing import (
    Fault,
    HubModel,
    Latency,
    Lengths,
    Reset,
    Respond,
    SimulatedEndpoint,
    Throttle,
    Truncate,
)

FAULTS = (
    Fault(Reset(), chance=0.05),
    Fault(Truncate(), chance=0.03),
    Fault(Respond(500), chance=0.04),
    Fault(Throttle(), chance=0.05),
)


def _has_sent(goal: int, endpoint: Any) -> bool:
    return len(endpoint.generations) > goal


def bill(endpoint: SimulatedEndpoint) -> int:
    """Tokens in and out of all that was generated, whoever got to see it."""
    return sum(r.input_tokens + r.output_tokens for r in endpoint.generations)


@pytest.fixture
def faulty() -> Iterator[SimulatedEndpoint]:
    """Breaks off one answer in eight, after it has generated it."""
    with SimulatedEndpoint(
        latency=Latency(0.02, per_token=0.0005), lengths=Lengths(40), slots=16, faults=FAULTS
    ) as endpoint:
        yield endpoint


def test_killed_processes_keep_to_the_budget(faulty: SimulatedEndpoint, tmp_path: Path) -> None:
    """Whenever it is killed, all processes together never spend more; the last ends with 6."""
    most = 40_000
    rows = write_rows(tmp_path / "in.jsonl", 3000)
    out = tmp_path / "out.jsonl"
    words = ("generate", rows, "-o", out, "--base-url", faulty.url, "--budget", f"{most}tok")
    rng = random.Random(9)
    for _ in range(4):
        process = start(*words, "--quiet")
        try:
            goal = len(faulty.generations) + 20
            faulty.wait_for(partial(_has_sent, goal), 60)
            time.sleep(rng.uniform(0, 0.5))
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
        assert bill(faulty) <= most
    done = run(*words, "--quiet")
    assert done.returncode == 6, done.stderr
    assert "budget" in done.stderr
    spent = read_status(out).spent
    assert spent is not None
    assert bill(faulty) <= spent.tokens <= most


def test_a_budget_in_dollars_is_used_up_and_not_exceeded(
    faulty: SimulatedEndpoint, tmp_path: Path
) -> None:
    """The run ends at 95 to 100 % of it, as the endpoint bills, but for what broke off."""
    llm = InferenceEndpointsLLM(base_url=faulty.url)
    prompts = [{"prompt": f"Question {n}?"} for n in range(2400)]
    with pytest.raises(BudgetError) as stopped:
        generate_dataset(
            llm, prompts, tmp_path / "out.jsonl", budget="$0.4", price_in=2, price_out=10
        )
    spent = stopped.value.summary.spent
    assert 0.38 <= spent.dollars <= 0.4
    billed = sum(2 * r.input_tokens + 10 * r.output_tokens for r in faulty.generations) / 10**6
    assert spent.dollars - spent.unknown_dollars <= billed <= spent.dollars


@pytest.mark.prove
@pytest.mark.usefixtures("default_signals")
def test_an_hour_of_work_uses_its_budget_in_dollars(tmp_path: Path) -> None:
    """An hour, with faults, a kill and an interrupt in it: it ends at 95 to 100 % of its budget."""
    rows = write_rows(tmp_path / "in.jsonl", 20_000)
    out = tmp_path / "out.jsonl"
    budget = 3.2
    with SimulatedEndpoint(
        latency=Latency(5, sigma=0.5), lengths=Lengths(40), slots=8, faults=FAULTS
    ) as endpoint:
        words = ("generate", rows, "-o", out, "--base-url", endpoint.url, "--quiet")
        prices = ("--budget", f"${budget}", "--price-in", "2", "--price-out", "10")
        started = time.monotonic()
        for signal_number in (signal.SIGKILL, signal.SIGINT):
            process = start(*words, *prices)
            endpoint.wait_for(partial(_has_sent, len(endpoint.generations) + 1500), 1800)
            process.send_signal(signal_number)
            process.communicate(timeout=300)
        process = start(*words, *prices)
        _, told = process.communicate(timeout=6000)
        assert process.returncode == 6, told
        spent = read_status(out).spent
        assert spent is not None
        assert spent.dollars is not None
        billed = sum(2 * r.input_tokens + 10 * r.output_tokens for r in endpoint.generations) / 1e6
        seconds = time.monotonic() - started
        assert 0.95 * budget <= spent.dollars <= budget
        assert billed <= spent.dollars
        assert seconds > 3000


def test_the_price_is_the_bill_to_the_cent(simulated_hugging_face: object, tmp_path: Path) -> None:
    """With the router's own price, what is shown is what its provider bills."""
    assert callable(simulated_hugging_face)
    model = HubModel("org/m", providers=("together",), prices={"together": (0.88, 2.2)})
    hub = simulated_hugging_face(models=(model,))
    llm = InferenceEndpointsLLM(model_id="org/m", provider="together", api_key="hf_test")
    prompts = [{"prompt": f"Question {n}?"} for n in range(200)]
    run = generate_dataset(llm, prompts, tmp_path / "out.jsonl", budget="$5")
    billed = sum(0.88 * r.input_tokens + 2.2 * r.output_tokens for r in hub.generations) / 10**6
    assert run.summary.spent is not None
    assert run.summary.spent.dollars == pytest.approx(billed, abs=1e-9)
