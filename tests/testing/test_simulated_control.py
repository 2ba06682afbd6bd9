"""The control plane of a dedicated endpoint: replicas, hardware, updates, pauses, the bill."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from huggingface_hub import HfApi, get_inference_endpoint
from huggingface_hub.errors import HfHubHTTPError
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_client import Talker, now, run_virtually, virtual_endpoint

from distilabel_endpoints.testing import Deployment, Hardware, Latency, SimulatedEndpoint, Token
from distilabel_endpoints.testing.fleet import Fleet

TOKENS = (Token("hf_ada", user="ada", orgs=("lab",)), Token("hf_bob", user="bob", orgs=("ada",)))
CONTROL = "/control/v2/endpoint/ada/mine"
HEADERS = {"Authorization": "Bearer hf_ada"}


def deployment(**changes: Any) -> Deployment:
    """The endpoint `ada/mine`."""
    return Deployment("mine", namespace="ada", **changes)


async def seen(talker: Talker) -> dict[str, Any]:
    """The endpoint's status."""
    _, raw = await talker.get(CONTROL, headers=HEADERS)
    status: dict[str, Any] = raw["status"]
    return status


def test_hardware_and_prices_as_the_library_reads_them(simulated_hugging_face: Any) -> None:
    """The list has the deployment's own hardware, joined by vendor, region, type and size."""
    simulated_hugging_face(
        tokens=TOKENS, deployment=deployment(hardware=Hardware(price_per_hour=1.8))
    )
    listed = HfApi(token="hf_ada").list_inference_endpoints_hardware(namespace="ada")
    raw = get_inference_endpoint("mine", namespace="ada", token="hf_ada").raw
    place, compute = raw["provider"], raw["compute"]
    name = (
        f"{place['vendor']}-{place['region']}-{compute['instanceType']}-{compute['instanceSize']}"
    )
    assert {entry.id: entry.price_per_hour for entry in listed}[name] == 1.8
    assert len({entry.vendor for entry in listed}) > 1
    assert raw["type"] == "authenticated"


def test_hardware_that_the_list_does_not_have(simulated_hugging_face: Any) -> None:
    """A price can be unknown."""
    simulated_hugging_face(deployment=deployment(hardware=Hardware(price_per_hour=None)))
    listed = HfApi(token="hf_x").list_inference_endpoints_hardware(namespace="simulated-user")
    assert listed
    assert "nvidia-l4" not in {entry.instance_type for entry in listed}


def test_an_update_says_who_made_it_and_deploys_anew(simulated_hugging_face: Any) -> None:
    """What is named changes, the rest stays; an endpoint that is up goes back to pending."""
    endpoint: SimulatedEndpoint = simulated_hugging_face(
        tokens=TOKENS, deployment=deployment(wake_seconds=1e6)
    )
    api = HfApi(token="hf_bob")
    before = api.get_inference_endpoint("mine", namespace="ada").raw
    after = api.update_inference_endpoint(
        "mine", namespace="ada", min_replica=0, scale_to_zero_timeout=15, tags=["mine"]
    ).raw
    assert before["status"]["updatedBy"]["name"] == "ada"
    assert after["status"]["updatedBy"]["name"] == "bob"
    assert after["status"]["updatedAt"] > before["status"]["updatedAt"]
    scaling = {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15}
    assert (after["compute"]["scaling"], after["tags"]) == (scaling, ["mine"])
    assert endpoint.state == "pending"


def test_an_update_of_a_paused_endpoint_leaves_it_paused(simulated_hugging_face: Any) -> None:
    """Nothing is deployed; numbers that contradict each other are refused."""
    endpoint: SimulatedEndpoint = simulated_hugging_face(deployment=deployment(state="paused"))
    endpoint.put_state("paused", by="ada")
    api = HfApi(token="hf_x")
    with pytest.raises(HfHubHTTPError):
        api.update_inference_endpoint("mine", namespace="simulated-user", min_replica=2)
    assert endpoint.state == "paused"


def test_a_moment_has_one_time_in_two_precisions(simulated_hugging_face: Any) -> None:
    """A command's answer has nanoseconds, a later read milliseconds; to the millisecond equal."""
    simulated_hugging_face(tokens=TOKENS, deployment=deployment(state="paused"))
    api = HfApi(token="hf_ada")
    resumed = api.resume_inference_endpoint("mine", namespace="ada").raw["status"]["updatedAt"]
    read = api.get_inference_endpoint("mine", namespace="ada").raw["status"]["updatedAt"]
    assert resumed != read
    assert resumed[:23] == read[:23]


def test_a_pause_takes_its_time() -> None:
    """It is accepted at once, and the endpoint runs, serves and costs until it is done."""

    async def main() -> None:
        settings: dict[str, Any] = {"deployment": deployment(pause_seconds=30), "tokens": TOKENS}
        async with virtual_endpoint(**settings) as (endpoint, talker):
            status, _ = await talker.post(f"{CONTROL}/pause", None, headers=HEADERS)
            assert (status, endpoint.state) == (200, "running")
            assert (await talker.chat(headers=HEADERS))[0] == 200
            await asyncio.sleep(30)
            assert (await seen(talker))["state"] == "paused"

    run_virtually(main())


def test_a_pause_that_is_lost() -> None:
    """The first one is accepted and has no effect; the second one has."""

    async def main() -> None:
        settings: dict[str, Any] = {"deployment": deployment(pauses_lost=1), "tokens": TOKENS}
        async with virtual_endpoint(**settings) as (endpoint, talker):
            states = []
            for _ in range(2):
                assert (await talker.post(f"{CONTROL}/pause", None, headers=HEADERS))[0] == 200
                states.append(endpoint.state)
            assert states == ["running", "paused"]

    run_virtually(main())


def test_a_pause_while_it_wakes_ends_the_waking() -> None:
    """What was on its way up does not come up afterwards."""

    async def main() -> None:
        asleep = deployment(state="paused", wake_seconds=100, pause_seconds=5)
        async with virtual_endpoint(deployment=asleep, tokens=TOKENS) as (endpoint, talker):
            await talker.post(f"{CONTROL}/resume", None, headers=HEADERS)
            await asyncio.sleep(50)
            await talker.post(f"{CONTROL}/pause", None, headers=HEADERS)
            await asyncio.sleep(200)
            assert endpoint.state == "paused"

    run_virtually(main())


def test_replicas_come_one_by_one_under_load() -> None:
    """With more than one and a half requests for each, one more comes, up to the most allowed."""

    async def main() -> None:
        several = deployment(max_replica=3, replica_seconds=60)
        settings: dict[str, Any] = {
            "deployment": several,
            "tokens": TOKENS,
            "slots": 4,
            "latency": Latency(5),
        }
        async with virtual_endpoint(**settings) as (endpoint, talker):
            states = []

            async def watch() -> None:
                for _ in range(30):
                    status = await seen(talker)
                    states.append((status["readyReplica"], status["targetReplica"]))
                    await asyncio.sleep(10)

            watcher = asyncio.create_task(watch())
            await asyncio.gather(*(talker.chat(f"row {n}", headers=HEADERS) for n in range(400)))
            await watcher
            assert sorted(set(states)) == [(1, 1), (1, 2), (2, 3), (3, 3)]
            assert endpoint.peak_in_flight == 400
            # One replica alone would need 400 / 4 * 5 seconds.
            assert now() < 350

    run_virtually(main())


def test_an_idle_endpoint_scales_to_zero() -> None:
    """After its minutes without a request, where no replica has to stay."""

    async def main() -> None:
        idle = deployment(min_replica=0, scale_to_zero_minutes=15)
        async with virtual_endpoint(deployment=idle, tokens=TOKENS) as (endpoint, talker):
            await asyncio.sleep(600)
            await talker.chat(headers=HEADERS)
            await asyncio.sleep(899)
            assert endpoint.state == "running"
            await asyncio.sleep(2)
            assert endpoint.state == "scaledToZero"
            assert endpoint.billed_minutes == 25

    run_virtually(main())


def test_the_bill_counts_begun_minutes_from_initializing_on() -> None:
    """Pending and paused cost nothing; a minute that is begun is billed whole."""

    async def main() -> None:
        asleep = deployment(state="paused", wake_seconds=100, hardware=Hardware(price_per_hour=6.0))
        async with virtual_endpoint(deployment=asleep, tokens=TOKENS) as (endpoint, talker):
            await asyncio.sleep(1000)
            await talker.post(f"{CONTROL}/resume", None, headers=HEADERS)
            await asyncio.sleep(9)
            assert endpoint.bill == 0
            await asyncio.sleep(2)
            assert endpoint.bill == pytest.approx(0.10)
            await asyncio.sleep(180)
            await talker.post(f"{CONTROL}/pause", None, headers=HEADERS)
            await asyncio.sleep(1000)
            assert endpoint.billed_minutes == math.ceil(181 / 60)
            assert endpoint.bill == pytest.approx(0.40)

    run_virtually(main())


def test_credit_that_runs_out_pauses_the_endpoint() -> None:
    """Paused at the first minute that cannot be paid; resuming is refused with 402."""

    async def main() -> None:
        poor = deployment(credit=0.5, hardware=Hardware(price_per_hour=6.0))
        async with virtual_endpoint(deployment=poor, tokens=TOKENS) as (endpoint, talker):
            await asyncio.sleep(299)
            assert endpoint.state == "running"
            await asyncio.sleep(2)
            status = await seen(talker)
            assert (status["state"], "credit" in status["message"]) == ("paused", True)
            assert (await talker.post(f"{CONTROL}/resume", None, headers=HEADERS))[0] == 402
            assert endpoint.bill == pytest.approx(0.5)

    run_virtually(main())


def test_it_cannot_be_deleted() -> None:
    """Nothing here deletes; what tries to is refused, and is in the log."""

    async def main() -> None:
        async with virtual_endpoint(deployment=deployment(), tokens=TOKENS) as (endpoint, talker):
            assert (await talker.post(CONTROL, None, headers=HEADERS))[0] == 405
            assert (await talker.get("/control/v2/provider/ada/x", headers=HEADERS))[0] == 404
            assert (await talker.get("/control/v2/provider/bob", headers=HEADERS))[0] == 403
            assert endpoint.state == "running"

    run_virtually(main())


@given(
    commands=st.lists(
        st.tuples(st.sampled_from(["resume", "pause", "zero"]), st.floats(0.1, 400)), max_size=12
    ),
    wake=st.floats(0, 200),
    pause=st.floats(0, 50),
)
@settings(deadline=None, max_examples=60)
def test_the_bill_does_not_depend_on_who_looks(
    commands: list[tuple[str, float]], wake: float, pause: float
) -> None:
    """Asked every second or only at the end, the same minutes were begun; they only grow."""

    def play(step: float) -> tuple[int, str]:
        fleet = Fleet(deployment(state="paused", wake_seconds=wake, pause_seconds=pause))
        at, minutes = 0.0, 0
        for command, seconds in commands:
            if command == "resume":
                if fleet.state(at) in ("paused", "scaledToZero"):
                    fleet.wake(at, "ada")
            else:
                fleet.stop("paused" if command == "pause" else "scaledToZero", at, "ada")
            end = at + seconds
            while at < end:
                at = min(end, at + step)
                assert fleet.minutes(at) >= minutes
                minutes = fleet.minutes(at)
        return fleet.minutes(at), fleet.state(at)

    assert play(1.0) == play(math.inf)
