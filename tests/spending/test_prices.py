"""What a token costs: who says so, and when nobody does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.spending.amounts import Price
from distilabel_endpoints.spending.price_table import table_pricing
from distilabel_endpoints.spending.prices import given_price, router_pricing
from distilabel_endpoints.testing import Deployment, Hardware, HubModel


def listed(*offers: Any) -> dict[str, Any]:
    """The router's list with one model."""
    return {"object": "list", "data": [{"id": "org/m", "providers": list(offers)}]}


TOGETHER = {
    "provider": "together",
    "status": "live",
    "context_length": 8192,
    "pricing": {"input": 0.88, "output": 0.9},
}
NOVITA = {
    "provider": "novita",
    "status": "live",
    "context_length": 4096,
    "pricing": {"input": 1, "output": 0.5},
}


def test_a_named_provider_costs_what_it_says() -> None:
    """Its own price and context, whatever the others ask."""
    found = router_pricing(listed(TOGETHER, NOVITA), "org/m", "novita")
    assert found.price is not None
    assert (found.price.input, found.price.output) == (10**6, 5 * 10**5)
    assert found.context == 4096


@pytest.mark.parametrize("policy", [None, "auto", "cheapest", "fastest"])
def test_without_a_name_the_dearest_counts(policy: str | None) -> None:
    """Any of them may answer, so each price is the highest, and the context the longest."""
    found = router_pricing(listed(TOGETHER, NOVITA), "org/m", policy)
    assert found.price is not None
    assert (found.price.input, found.price.output) == (10**6, 9 * 10**5)
    assert found.context == 8192


@pytest.mark.parametrize(
    "other",
    [
        {"provider": "nebius", "status": "live"},
        {"provider": "nebius", "status": "live", "pricing": {"input": 1}},
        {"provider": "nebius", "status": "live", "pricing": {"input": "?", "output": True}},
        {"provider": "nebius", "status": "live", "pricing": {"input": -1, "output": 1}},
    ],
)
def test_one_unknown_price_makes_all_unknown(other: dict[str, Any]) -> None:
    """If a provider that may answer names no price, nothing is guessed, and it is named."""
    found = router_pricing(listed(TOGETHER, other), "org/m", None)
    assert not found.is_known
    assert "nebius" in found.reason
    assert router_pricing(listed(TOGETHER, other), "org/m", "together").is_known


def test_providers_that_are_down_do_not_count() -> None:
    """Only those that are live may answer."""
    down = {"provider": "nebius", "status": "error"}
    assert router_pricing(listed(TOGETHER, down), "org/m", None).is_known
    assert not router_pricing(listed(down), "org/m", None).is_known


@pytest.mark.parametrize("answer", [None, [], {}, {"data": 3}, {"data": [1, {"id": "org/m"}]}, "x"])
def test_a_list_that_is_none_says_nothing(answer: Any) -> None:
    """Whatever the router answers, the price is unknown and not wrong."""
    assert not router_pricing(answer, "org/m", None).is_known


def test_the_router_is_asked(simulated_hugging_face: Any) -> None:
    """`pricing()` of an LLM with `model_id` reads the list."""
    prices = {"together": (0.5, 1.5)}
    simulated_hugging_face(models=(HubModel("org/m", prices=prices, providers=("together",)),))
    with InferenceEndpointsLLM(model_id="org/m", api_key="hf_test") as llm:
        found = llm.pricing()
    assert found.price is not None
    assert found.price.describe() == (
        "$0.5 in, $1.5 out per million tokens (together, the router's list)"
    )


def test_a_run_without_a_budget_counts_dollars(simulated_hugging_face: Any, tmp_path: Path) -> None:
    """The router's price is looked up for every run; one that it does not name stays unknown."""
    models = (
        HubModel("org/m", prices={"together": (0.5, 1.5)}, providers=("together",)),
        HubModel("org/unpriced", providers=("together",)),
    )
    hub = simulated_hugging_face(models=models)
    for model in models:
        with InferenceEndpointsLLM(model_id=model.id, api_key="hf_test") as llm:
            done = generate_dataset(llm, ["One?", "Two?"], tmp_path / f"{model.id[4:]}.jsonl")
        spent = done.summary.spent
        assert spent is not None
        billed = [r for r in hub.generations if r.body["model"].startswith(model.id)]
        assert spent.tokens == sum(r.input_tokens + r.output_tokens for r in billed)
        if model.prices:
            cost = sum(0.5 * r.input_tokens + 1.5 * r.output_tokens for r in billed)
            assert spent.dollars == pytest.approx(cost / 10**6)
        else:
            assert spent.dollars is None


def test_a_well_known_host_is_in_the_table() -> None:
    """By its URL and the model's name; others are unknown, with the reason."""
    found = table_pricing("https://api.openai.com/v1", "gpt-4o")
    assert found.price is not None
    assert found.price.output > found.price.input > 0
    assert "genai-prices" in found.price.source
    assert not table_pricing("http://localhost:8000/v1", "m").is_known
    assert "genai-prices" in table_pricing("https://api.openai.com/v1", "no-such").reason
    assert not table_pricing("http://localhost:8000/v1", None).is_known


@pytest.mark.parametrize(
    ("price_in", "price_out"), [("a", 1), (-1, 1), (1, float("nan")), (1e9, 1)]
)
def test_what_is_not_a_price_is_refused(price_in: Any, price_out: Any) -> None:
    """Dollars per million tokens, zero or more."""
    with pytest.raises(ConfigurationError, match="per million tokens"):
        given_price(price_in, price_out)


def test_prices_are_exact() -> None:
    """No sum of them is ever off by a rounding, also with many digits."""
    price = Price.per_million("0.0375", "0.15")
    assert price.of(3, 7).picodollars == 3 * 37_500 + 7 * 150_000


@pytest.mark.parametrize("budget", ["$3", None])
def test_a_dedicated_endpoint_costs_its_hardware_by_the_hour(
    budget: str | None, simulated_hugging_face: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times the replicas it can grow to, by the begun minute, from the control plane alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    mine = Deployment("mine", hardware=Hardware(price_per_hour=1.8), max_replica=4)
    simulated_hugging_face(deployment=mine)
    llm = InferenceEndpointsLLM(endpoint_name="mine", api_key="hf_test")
    prompts = [{"prompt": f"Question {n}?"} for n in range(20)]
    run = generate_dataset(llm, prompts, tmp_path / "out.jsonl", budget=budget)
    assert run.summary.ok == 20
    assert run.summary.spent is not None
    assert run.summary.spent.dollars == pytest.approx(4 * 1.8 / 60)


def test_unknown_hardware_has_no_price(simulated_hugging_face: Any, tmp_path: Path) -> None:
    """The budget is refused then, and nothing is sent."""
    mine = Deployment("mine", hardware=Hardware(price_per_hour=None))
    endpoint = simulated_hugging_face(deployment=mine)
    llm = InferenceEndpointsLLM(endpoint_name="mine", api_key="hf_test")
    with pytest.raises(ConfigurationError, match="no price"):
        generate_dataset(llm, [{"prompt": "?"}], tmp_path / "out.jsonl", budget="$3")
    assert not endpoint.generations
