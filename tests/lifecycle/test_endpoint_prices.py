"""What an endpoint costs: shown before, counted as it is billed."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import HfApi
from hypothesis import given, settings
from hypothesis import strategies as st
from lifecycle_samples import KEY, TOKENS, Start, deployment, seen

from distilabel_endpoints.lifecycle.hardware_prices import HourlyPrice, RunningCost, hourly_price
from distilabel_endpoints.lifecycle.sight import sight_of
from distilabel_endpoints.testing import Hardware
from distilabel_endpoints.testing.fleet import SERVING, WAKING, Fleet


def test_the_price_is_that_of_its_own_hardware(simulated_hugging_face: Start) -> None:
    """Joined by vendor, region, type and size; at most it costs all replicas it can grow to."""
    simulated_hugging_face(tokens=TOKENS, deployment=deployment(max_replica=4))
    api = HfApi(token=KEY)
    sight = sight_of(api.get_inference_endpoint("mine", namespace="ada").raw, "ada")
    price = hourly_price(sight, api.list_inference_endpoints_hardware(namespace="ada"))
    assert price is not None
    assert (price.replica, price.most) == (4.8, 19.2)
    assert price.describe() == "$4.80/h a replica, at most 4 replicas: $19.20/h"


def test_a_price_that_nobody_tells_is_unknown(simulated_hugging_face: Start) -> None:
    """Nothing is guessed where the list does not have the hardware."""
    unlisted = deployment(hardware=Hardware(price_per_hour=None))
    simulated_hugging_face(tokens=TOKENS, deployment=unlisted)
    listed = HfApi(token=KEY).list_inference_endpoints_hardware(namespace="ada")
    assert hourly_price(seen(), listed) is None


def test_one_replica_has_one_price() -> None:
    """Without auto-scaling there is no most."""
    assert HourlyPrice(0.5, 1).describe() == "$0.50/h while it runs"


@settings(deadline=None)
@given(
    commands=st.lists(
        st.tuples(st.sampled_from(["resume", "pause", "load"]), st.integers(1, 400)), max_size=10
    ),
    wake=st.integers(0, 20),
    pause=st.integers(0, 50),
    price=st.sampled_from([0.033, 0.8, 1.8, 5.0, 28.8]),
)
def test_the_cost_is_the_bill_to_the_cent(
    commands: list[tuple[str, int]], wake: int, pause: int, price: float
) -> None:
    """Whatever was started, stopped and scaled: looked at each second, the same minutes."""
    fleet = Fleet(
        deployment(
            wake_seconds=wake * 10.0,
            pause_seconds=float(pause),
            max_replica=3,
            hardware=Hardware(price_per_hour=price),
        )
    )
    cost, at = RunningCost(), 0

    def look() -> None:
        state = fleet.state(at)
        ready, target = fleet.replicas(at)
        cost.see(seen(state, ready=ready, target=target), at)

    for command, seconds in commands:
        act(fleet, command, at)
        for _ in range(seconds):
            look()
            at += 1
    look()
    assert cost.minutes(at) == fleet.minutes(at)
    assert f"{cost.dollars(HourlyPrice(price, 3), at):.2f}" == f"{fleet.bill(at):.2f}"


def act(fleet: Fleet, command: str, at: float) -> Any:
    """One command to the simulated deployment."""
    state = fleet.state(at)
    match command:
        case "resume" if state not in SERVING | WAKING:
            fleet.wake(at, "ada")
        case "pause":
            fleet.stop("paused", at, "ada")
        case "load":
            fleet.use(at, 10)


@pytest.mark.parametrize("state", ["paused", "scaledToZero", "pending", "failed"])
def test_what_does_not_run_costs_nothing(state: str) -> None:
    """Billed are initializing and running."""
    cost = RunningCost()
    cost.see(seen(state), 0)
    assert cost.minutes(1e6) == 0
