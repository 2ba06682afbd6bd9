"""The router's providers as one pool: who is chosen, who answers, and what a run says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import rows_of, write_rows
from target_samples import GOOD, HELLO, TOKENS, said

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints._targets.router_models import Needs, choose_offers, offers_of
from distilabel_endpoints.errors import ConfigurationError, InputError
from distilabel_endpoints.testing import (
    Drip,
    Fault,
    HubModel,
    Latency,
    Respond,
    SimulatedEndpoint,
)

Start = Callable[..., SimulatedEndpoint]
FOUR = ("fireworks-ai", "novita", "nebius", "together")
MODEL = HubModel(
    "org/open",
    providers=FOUR,
    prices={"novita": (0.1, 0.5), "together": (0.2, 2.0), "nebius": (1.0, 6.0)},
    contexts={"novita": 512},
    tools={"novita": False, "together": True},
    schemas={"nebius": False},
)
JSON = {"format": "json", "schema": {"type": "object"}}
pytestmark = pytest.mark.filterwarnings("ignore:.*other quantisations:UserWarning")


@pytest.fixture
def hub(simulated_hugging_face: Start) -> SimulatedEndpoint:
    """A router with four providers of one model, each of them the same machine."""
    return simulated_hugging_face(tokens=TOKENS, models=(MODEL,), latency=Latency(0.02))


def pooled(**attributes: Any) -> InferenceEndpointsLLM:
    return InferenceEndpointsLLM(**{"model_id": "org/open", "api_key": GOOD, **attributes})


def asked(hub: SimulatedEndpoint) -> Counter[str]:
    """How many requests went to each provider."""
    return Counter(str(record.body["model"]).partition(":")[2] for record in hub.generations)


@pytest.mark.parametrize("use_openai_client", [False, True], ids=["hub", "openai"])
def test_each_provider_is_a_member(
    hub: SimulatedEndpoint, tmp_path: Path, use_openai_client: bool
) -> None:
    """One address, one token; every row says who answered it, as the router told."""
    llm = pooled(provider=["novita", "together"], use_openai_client=use_openai_client)
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    done = generate_dataset(llm, rows, tmp_path / "out.jsonl", max_new_tokens=8)
    assert done.summary.ok == 60
    assert set(asked(hub)) == {"novita", "together"}
    found = Counter(row["provider"] for row in rows_of(tmp_path / "out.jsonl"))
    assert found == asked(hub)
    assert {record.headers["authorization"] for record in hub.generations} == {f"Bearer {GOOD}"}
    assert llm.generate_outputs([HELLO])[0]["providers"][0] in {"novita", "together"}


def test_one_warning_that_they_may_differ(hub: SimulatedEndpoint) -> None:
    """Said once, at load, with the names."""
    llm = pooled(provider=["novita", "together"])
    with pytest.warns(
        UserWarning, match=r"2 providers \(novita, together\).*quantisations"
    ) as seen:
        llm.generate([HELLO] * 3)
    assert len(seen) == 1


def test_all_of_them_within_a_price(
    hub: SimulatedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """`all` leaves out who is too dear and who names no price, and says so."""
    llm = pooled(provider="all", max_price_out=3, generation_kwargs={"max_new_tokens": 8})
    llm.generate([HELLO] * 20)
    assert set(asked(hub)) == {"novita", "together"}
    text = " ".join(said(caplog))
    assert "nebius takes $6" in text
    assert "fireworks-ai names no price" in text


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"provider": ["novita", "groq"]}, "groq does not serve this model; these do"),
        ({"provider": ["novita", "nebius"], "max_price_out": 3}, r"nebius takes \$6"),
        ({"provider": ["novita"], "generation_kwargs": {"max_new_tokens": 512}}, "context of 512"),
        ({"provider": "all", "max_price_out": 0.1}, "No provider can be used"),
        (
            {"provider": ["nebius"], "structured_output": JSON},
            "to a schema",
        ),
    ],
)
def test_who_cannot_do_it_is_named(
    hub: SimulatedEndpoint, attributes: dict[str, Any], message: str
) -> None:
    """At load, before any request: the provider and the reason."""
    with pytest.raises(ConfigurationError, match=message):
        pooled(**attributes).load()
    assert hub.generations == ()


def test_tools_leave_out_who_does_not_take_them(hub: SimulatedEndpoint) -> None:
    """From the attributes; in a call, where it is too late to leave anybody out, an error."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    llm = pooled(provider="all", generation_kwargs={"tools": tools, "max_new_tokens": 8})
    llm.generate_outputs([HELLO] * 12)
    assert set(asked(hub)) == set(FOUR) - {"novita"}
    with pytest.raises(ConfigurationError, match="novita does not take tools"):
        pooled(provider=["novita", "together"]).generate([HELLO], tools=tools)
    with pytest.raises(ConfigurationError, match="novita has a context of 512"):
        pooled(provider=["novita", "together"]).generate([HELLO], max_new_tokens=600)


def test_sticky_keeps_to_the_first(simulated_hugging_face: Start) -> None:
    """The router chooses once; from then on that provider is named."""
    hub = simulated_hugging_face(tokens=TOKENS, models=(MODEL,), latency=Latency(0.02))
    llm = pooled(provider="sticky")
    outputs = llm.generate_outputs([HELLO] * 30)
    assert asked(hub) == {"": 1, "fireworks-ai": 29}
    assert {output["providers"][0] for output in outputs} == {"fireworks-ai"}


def test_sticky_keeps_to_the_first_on_a_resume(
    simulated_hugging_face: Start, tmp_path: Path
) -> None:
    """Another process, and another one that would be first: the run's rows have one provider."""
    rows, output = write_rows(tmp_path / "rows.jsonl", 6), tmp_path / "out.jsonl"
    hub = simulated_hugging_face(tokens=TOKENS, models=(MODEL,))
    for limit in (3, None):
        with pooled(provider="sticky") as llm:
            generate_dataset(llm, rows, output, limit=limit, max_new_tokens=8)
    assert asked(hub) == {"": 1, "fireworks-ai": 5}
    assert {row["provider"] for row in rows_of(output)} == {"fireworks-ai"}
    with pooled(provider="sticky") as llm:
        generate_dataset(llm, rows, output, max_new_tokens=8, fresh=True)
    assert asked(hub)[""] == 2


def test_the_choice_is_what_a_resume_must_match(hub: SimulatedEndpoint, tmp_path: Path) -> None:
    """Other providers are another run; their order is not."""
    rows, output = write_rows(tmp_path / "rows.jsonl", 4), tmp_path / "out.jsonl"
    generate_dataset(pooled(provider=["novita", "together"]), rows, output, max_new_tokens=8)
    sent = len(hub.generations)
    generate_dataset(pooled(provider=["together", "novita"]), rows, output, max_new_tokens=8)
    assert len(hub.generations) == sent
    with pytest.raises(InputError, match="providers"):
        generate_dataset(pooled(provider="all"), rows, output, max_new_tokens=8)


@pytest.mark.parametrize(
    "attributes",
    [
        {"provider": []},
        {"provider": ["novita", "novita"]},
        {"max_price_out": 3},
        {"provider": "novita", "max_price_out": 3},
    ],
)
def test_attributes_that_make_no_pool(attributes: dict[str, Any]) -> None:
    """An empty list, a name twice, a price without a pool: refused when the object is made."""
    with pytest.raises(ConfigurationError, match=r"provider|max_price_out"):
        pooled(**attributes)


def test_one_refuses_half_one_is_slow_and_one_goes_away(
    simulated_hugging_face: Start, tmp_path: Path
) -> None:
    """Every row is answered; who refuses gets what it takes, and the good one most of the rest."""
    faults = (
        Fault(Respond(429), marker="org/open:novita", chance=0.5),
        Fault(Drip(0.2, chunk=120), marker="org/open:nebius"),
        Fault(Respond(503), marker="org/open:fireworks-ai", after=1.5),
    )
    hub = simulated_hugging_face(
        tokens=TOKENS, models=(MODEL,), latency=Latency(0.05, sigma=0.3), faults=faults
    )
    rows = write_rows(tmp_path / "rows.jsonl", 600)
    llm = pooled(provider=list(FOUR), max_concurrency=32)
    done = generate_dataset(llm, rows, tmp_path / "out.jsonl", max_new_tokens=8)
    assert (done.summary.ok, done.summary.failed) == (600, 0)
    found = Counter(row["provider"] for row in rows_of(tmp_path / "out.jsonl"))
    assert sum(found.values()) == 600
    assert found["together"] == max(found.values())
    assert found["nebius"] < found["together"]
    assert found["novita"] > 0
    assert len(hub.generations) < 1200


LISTED = {
    "data": [
        {
            "id": "m",
            "providers": [
                {"provider": "a", "status": "live", "pricing": {"input": 1, "output": 2}},
                {"provider": "b", "status": "error"},
                {"provider": "c", "status": "live", "is_free": True, "context_length": 100},
                {"status": "live"},
                "no offer",
            ],
        }
    ]
}


@pytest.mark.parametrize(
    ("needs", "chosen"),
    [
        (Needs(), ("a", "c")),
        (Needs(max_price_out=2), ("a", "c")),
        (Needs(max_price_out=1), ("c",)),
        (Needs(tokens=100), ("a",)),
        (Needs(tools=True, structured_output=True), ("a", "c")),
    ],
)
def test_what_is_not_said_rules_nobody_out(needs: Needs, chosen: tuple[str, ...]) -> None:
    """But a price that is not named, and a state that is not live."""
    choice = choose_offers(offers_of(LISTED, "m"), ("all",), needs)
    assert choice.providers == chosen
    assert choice.left_out["b"] == "is not live"


@pytest.mark.parametrize("listed", [None, [], {}, {"data": 1}, {"data": [{"id": "m"}]}, LISTED])
def test_lists_that_say_nothing(listed: Any) -> None:
    """Nobody is made up."""
    with pytest.raises(ConfigurationError, match="No provider can be used"):
        choose_offers(offers_of(listed, "other"), ("all",), Needs())
