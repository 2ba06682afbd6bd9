"""The Hub, its router and the control plane, as huggingface_hub calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient, HfApi, get_inference_endpoint
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    InferenceEndpointError,
    RepositoryNotFoundError,
)
from huggingface_hub.inference._providers._common import _fetch_inference_provider_mapping
from virtual_client import now, run_virtually, virtual_endpoint

from distilabel_endpoints.testing import (
    Deployment,
    Fault,
    HubModel,
    Pause,
    Revoke,
    SimulatedEndpoint,
    SpendCredits,
    Token,
)
from distilabel_endpoints.testing.endpoint_settings import STATES, StateName

Start = Callable[..., SimulatedEndpoint]
GOOD, POOR = "hf_good", "hf_poor"
TOKENS = (Token(GOOD, user="ada", orgs=("lab",)), Token(POOR, user="bob", inference=False))
MODELS = (
    HubModel("org/open", providers=("together", "hf-inference")),
    HubModel("org/gated", gated=True),
    HubModel("org/unserved", providers=()),
)
CONVERSATION: Any = [{"role": "user", "content": "Say hello"}]
CHAT = {"messages": CONVERSATION}


@pytest.fixture
def hub(simulated_hugging_face: Start) -> SimulatedEndpoint:
    """A Hub with three models and two tokens, which huggingface_hub takes for the real one."""
    _fetch_inference_provider_mapping.cache_clear()
    return simulated_hugging_face(tokens=TOKENS, models=MODELS)


def bearer(token: str, **more: str) -> dict[str, str]:
    """The headers of a token."""
    return {"Authorization": f"Bearer {token}", **more}


async def chat(model: str, token: str = GOOD, **options: Any) -> Any:
    """One serverless chat."""
    async with AsyncInferenceClient(api_key=token, **options) as client:
        return await client.chat_completion(CONVERSATION, model=model)


def test_whoami_names_user_orgs_and_rights(hub: SimulatedEndpoint) -> None:
    """Name, organisations, and the scopes that inference needs."""
    seen = HfApi().whoami(GOOD)
    assert seen["name"] == "ada"
    assert [org["name"] for org in seen["orgs"]] == ["lab"]
    granted = seen["auth"]["accessToken"]["fineGrained"]["scoped"][0]["permissions"]
    assert "inference.serverless.write" in granted
    poor = HfApi().whoami(POOR)["auth"]["accessToken"]["fineGrained"]["scoped"]
    assert poor[0]["permissions"] == []


def test_whoami_refuses_a_wrong_token(hub: SimulatedEndpoint) -> None:
    """401, which huggingface_hub calls an invalid user token."""
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi().whoami("hf_wrong")


def test_model_info_says_who_serves(hub: SimulatedEndpoint) -> None:
    """The provider mapping in the endpoint's order; empty where nobody serves."""
    api = HfApi(token=GOOD)
    info = api.model_info("org/open", expand=["inferenceProviderMapping"])
    mapping = info.inference_provider_mapping or []
    assert [(entry.provider, entry.status, entry.task) for entry in mapping] == [
        ("together", "live", "conversational"),
        ("hf-inference", "live", "conversational"),
    ]
    nobody = api.model_info("org/unserved", expand=["inferenceProviderMapping"])
    assert nobody.inference_provider_mapping == []


def test_model_info_is_public_even_for_gated_models(hub: SimulatedEndpoint) -> None:
    """Metadata without access; files with 403 as `GatedRepoError`."""
    api = HfApi(token=GOOD)
    info = api.model_info("org/gated")
    assert (info.gated, info.pipeline_tag) == ("manual", "text-generation")
    with pytest.raises(GatedRepoError):
        api.get_hf_file_metadata(
            url=f"{hub.hub_url}/org/gated/resolve/main/config.json", token=GOOD
        )


def test_a_model_that_is_not_there(hub: SimulatedEndpoint) -> None:
    """`RepositoryNotFoundError` with and without a token."""
    seen = {}
    for token in (GOOD, False):
        with pytest.raises(RepositoryNotFoundError) as caught:
            HfApi().model_info("org/none", token=token)
        seen[token] = caught.value.response.status_code
    assert seen == {GOOD: 404, False: 401}


def test_a_revoked_token_is_good_nowhere(hub: SimulatedEndpoint) -> None:
    """Hub, router and control plane answer 401, until it is restored."""
    hub.revoke(GOOD)
    statuses = []
    for call in (
        lambda: HfApi().whoami(GOOD),
        lambda: HfApi().model_info("org/open", token=GOOD),
        lambda: asyncio.run(chat("org/open")),
        lambda: get_inference_endpoint("mine", namespace="ada", token=GOOD),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            call()
        statuses.append(caught.value.response.status_code)
    assert statuses == [401] * 4
    hub.restore(GOOD)
    assert HfApi().whoami(GOOD)["name"] == "ada"


@pytest.mark.parametrize("provider", [None, "auto", "together", "hf-inference"])
def test_serverless_chat_goes_through_the_router(provider: Any, hub: SimulatedEndpoint) -> None:
    """By `auto` in one request, by a named provider with its mapping first."""
    answer = asyncio.run(chat("org/open", provider=provider))
    assert answer.choices[0].message.content
    assert answer.model == "org/open"
    assert hub.generations[-1].path.startswith("/router/")


def test_a_provider_can_be_named_behind_the_model(hub: SimulatedEndpoint) -> None:
    """`model:provider` is honoured, and refused for one that does not serve it."""
    assert asyncio.run(chat("org/open:together")).model == "org/open"
    assert asyncio.run(chat("org/open:fastest")).model == "org/open"
    with pytest.raises(BadRequestError, match="No provider"):
        asyncio.run(chat("org/open:groq"))


@pytest.mark.parametrize(
    ("model", "token", "status"),
    [
        ("org/open", "hf_wrong", 401),
        ("org/open", POOR, 403),
        ("org/gated", GOOD, 403),
        ("org/none", GOOD, 404),
        ("org/unserved", GOOD, 400),
    ],
)
def test_the_router_refuses_with_the_right_status(
    model: str, token: str, status: int, hub: SimulatedEndpoint
) -> None:
    """Wrong token, token without rights, gated, missing and unserved models."""
    with pytest.raises(HfHubHTTPError) as caught:
        asyncio.run(chat(model, token))
    assert caught.value.response.status_code == status


def test_billing_reaches_the_log_and_is_checked(hub: SimulatedEndpoint) -> None:
    """`X-HF-Bill-To` of an own organisation passes and is logged; another is 403."""
    asyncio.run(chat("org/open", bill_to="lab"))
    assert hub.generations[-1].headers["x-hf-bill-to"] == "lab"
    with pytest.raises(HfHubHTTPError) as caught:
        asyncio.run(chat("org/open", bill_to="others"))
    assert caught.value.response.status_code == 403


def test_credits_run_out(simulated_hugging_face: Start) -> None:
    """402 after as many answers as were paid for, until there are more."""
    endpoint = simulated_hugging_face(models=MODELS, credits=2)
    for _ in range(2):
        asyncio.run(chat("org/open"))
    with pytest.raises(HfHubHTTPError) as caught:
        asyncio.run(chat("org/open"))
    assert caught.value.response.status_code == 402
    endpoint.set_credits(None)
    assert asyncio.run(chat("org/open"))


def test_any_hf_token_is_good_where_none_are_named(simulated_hugging_face: Start) -> None:
    """The router wants an `hf_` token, and without named ones any will do."""
    endpoint = simulated_hugging_face(model="org/one")
    assert asyncio.run(chat("org/one", "hf_whatever"))
    assert HfApi().whoami("hf_whatever")["name"] == "simulated-user"
    with pytest.raises(HfHubHTTPError):
        HfApi().whoami("whatever")
    assert {record.kind for record in endpoint.requests} == {"generate", "hub"}


def test_text_generation_by_a_provider(hub: SimulatedEndpoint) -> None:
    """A provider's text route answers text generation."""

    async def main() -> None:
        async with AsyncInferenceClient(provider="hf-inference", api_key=GOOD) as client:
            address = f"{hub.router_url}/hf-inference/models/org/open"
            with pytest.raises(HfHubHTTPError):
                await client.text_generation("x", model=f"{hub.router_url}/hf-inference/nothing")
            assert await client.text_generation("Once upon", model=address)

    asyncio.run(main())


def test_router_paths_without_a_library() -> None:
    """The list of models, a provider's completions, and what does not exist."""

    async def main() -> None:
        async with virtual_endpoint(tokens=TOKENS, models=MODELS) as (_, talker):
            headers = bearer(GOOD)
            status, listed = await talker.get("/router/v1/models", headers=headers)
            assert status == 200
            assert [entry["id"] for entry in listed["data"]] == ["org/open", "org/gated"]
            body = {"model": "together--org/open", "prompt": "x"}
            path = "/router/together/v1/completions"
            assert (await talker.post(path, body, headers=headers))[0] == 200
            assert (await talker.get("/router/v2/nothing", headers=headers))[0] == 404
            assert (await talker.get("/hub/nothing", headers=headers))[0] == 404
            assert (await talker.get("/hub/org/none/resolve/main/x", headers=headers))[0] == 404
            status, _ = await talker.post("/router/v1/chat/completions", [], headers=headers)
            assert status == 400

    run_virtually(main())


@pytest.mark.parametrize("state", STATES)
def test_control_plane_tells_every_state(state: StateName, simulated_hugging_face: Start) -> None:
    """All eight states arrive in huggingface_hub; only reachable ones have a URL."""
    deployment = Deployment("mine", namespace="ada", state=state, wake_seconds=1e9)
    endpoint = simulated_hugging_face(
        flavor="vllm", model="org/open", deployment=deployment, tokens=TOKENS
    )
    seen = get_inference_endpoint("mine", namespace="ada", token=GOOD)
    assert seen.status == state
    assert seen.repository == "org/open"
    assert list(seen.raw["model"]["image"]) == ["vLLM"]
    reachable = ("running", "scaledToZero", "updating", "updateFailed")
    assert seen.url == (endpoint.url if state in reachable else None)


def test_namespace_defaults_to_the_tokens_user(simulated_hugging_face: Start) -> None:
    """Without a namespace huggingface_hub asks who the token is."""
    simulated_hugging_face(tokens=TOKENS, deployment=Deployment("mine", namespace="ada"))
    assert get_inference_endpoint("mine", token=GOOD).namespace == "ada"
    assert [seen.name for seen in HfApi().list_inference_endpoints(token=GOOD)] == ["mine"]


@pytest.mark.parametrize(
    ("name", "namespace", "token", "status"),
    [
        ("mine", "ada", "hf_wrong", 401),
        ("mine", "others", GOOD, 403),
        ("other", "ada", GOOD, 404),
        ("mine", "lab", GOOD, 404),
    ],
)
def test_control_plane_refuses(
    name: str, namespace: str, token: str, status: int, simulated_hugging_face: Start
) -> None:
    """Wrong token, no access, no such endpoint."""
    simulated_hugging_face(tokens=TOKENS, deployment=Deployment("mine", namespace="ada"))
    with pytest.raises(HfHubHTTPError) as caught:
        get_inference_endpoint(name, namespace=namespace, token=token)
    assert caught.value.response.status_code == status


def test_huggingface_hub_pauses_resumes_and_waits(simulated_hugging_face: Start) -> None:
    """The whole life: pause, resume, wait until it answers; a running one can be resumed."""
    endpoint = simulated_hugging_face(deployment=Deployment("mine"))
    seen = get_inference_endpoint("mine", namespace="simulated-user", token=GOOD)
    assert seen.pause().status == "paused"
    assert seen.resume().status in ("pending", "running")
    assert seen.wait(timeout=5, refresh_every=1).url == endpoint.url
    assert seen.resume().status == "running"
    assert seen.scale_to_zero().status == "scaledToZero"
    assert endpoint.requests[-1].method == "POST"


def test_a_wake_that_fails_is_told(simulated_hugging_face: Start) -> None:
    """`wait` raises when waking ends in `failed`."""
    deployment = Deployment("mine", state="paused", wake_fails=True)
    simulated_hugging_face(deployment=deployment)
    seen = get_inference_endpoint("mine", namespace="simulated-user", token=GOOD)
    seen.resume()
    with pytest.raises(InferenceEndpointError, match="failed to deploy"):
        seen.wait(timeout=5, refresh_every=1)


CONTROL = "/control/v2/endpoint/simulated-user/mine"


def test_waking_takes_its_seconds() -> None:
    """Resumed, it is pending, then initializing, then running; requests meanwhile are 503."""

    async def main() -> None:
        deployment = Deployment("mine", state="paused", wake_seconds=360)
        async with virtual_endpoint(deployment=deployment) as (_, talker):
            assert (await talker.chat())[0] == 400
            await talker.post(f"{CONTROL}/resume", None, headers=bearer(GOOD))
            states = []
            for _ in range(4):
                _, seen = await talker.get(CONTROL, headers=bearer(GOOD))
                states.append(seen["status"]["state"])
                statuses = (await talker.chat())[0], (await talker.get("/health"))[0]
                assert statuses == ((200, 200) if states[-1] == "running" else (503, 503))
                await asyncio.sleep(120)
            assert states == ["pending", "initializing", "initializing", "running"]

    run_virtually(main())


def test_a_request_wakes_what_scaled_to_zero() -> None:
    """The first request begins the wake-up and is 503; `X-Scale-Up-Timeout` is held instead."""

    async def main() -> None:
        deployment = Deployment("mine", state="scaledToZero", wake_seconds=100)
        async with virtual_endpoint(deployment=deployment) as (_, talker):
            await asyncio.sleep(1000)
            assert (await talker.chat())[0] == 503
            status, _ = await talker.chat(headers={"X-Scale-Up-Timeout": "30"})
            assert (status, now()) == (503, 1030)
            status, _ = await talker.chat(headers={"X-Scale-Up-Timeout": "600"})
            assert status == 200
            assert now() == pytest.approx(1100)
            assert (await talker.chat(headers={"X-Scale-Up-Timeout": "soon"}))[0] == 200

    run_virtually(main())


def test_a_held_request_sees_what_becomes_of_the_endpoint() -> None:
    """Paused while a request is held: it is told so when its wait ends."""

    async def main() -> None:
        deployment = Deployment("mine", state="scaledToZero", wake_seconds=100)
        async with virtual_endpoint(deployment=deployment) as (endpoint, talker):
            held = asyncio.create_task(talker.chat(headers={"X-Scale-Up-Timeout": "600"}))
            await asyncio.sleep(50)
            endpoint.put_state("paused")
            status, answer = await held
            assert status == 400
            assert "Invalid state" in answer["error"]

    run_virtually(main())


@pytest.mark.parametrize(
    ("state", "status"),
    [("failed", 503), ("updateFailed", 200), ("updating", 200), ("paused", 400), ("running", 200)],
)
def test_the_data_plane_follows_the_state(state: StateName, status: int) -> None:
    """An update keeps serving; a failed or paused endpoint does not."""

    async def main() -> None:
        async with virtual_endpoint() as (endpoint, talker):
            endpoint.put_state(state)
            assert (await talker.chat())[0] == status

    run_virtually(main())


def test_control_plane_knows_its_commands() -> None:
    """Commands by the wrong method or name are 405 and 404; waking twice is one wake."""

    async def main() -> None:
        deployment = Deployment("mine", state="paused", wake_seconds=100)
        async with virtual_endpoint(deployment=deployment) as (_, talker):
            headers = bearer(GOOD)
            assert (await talker.get(f"{CONTROL}/resume", headers=headers))[0] == 405
            assert (await talker.post(f"{CONTROL}/explode", None, headers=headers))[0] == 405
            assert (await talker.post("/control/v2/endpoint", None, headers=headers))[0] == 404
            assert (
                await talker.post("/control/v2/endpoint/simulated-user", None, headers=headers)
            )[0] == 405
            for _ in range(2):
                await talker.post(f"{CONTROL}/resume", None, headers=headers)
                await asyncio.sleep(60)
            assert (await talker.chat())[0] == 200

    run_virtually(main())


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        (Fault(Pause(), nth=3), [200, 200, 400, 400]),
        (Fault(Revoke(), nth=3), [200, 200, 401, 401]),
        (Fault(Revoke("hf_other"), nth=3), [200, 200, 200, 200]),
    ],
    ids=str,
)
def test_scripted_changes_last(fault: Fault, statuses: list[int]) -> None:
    """Paused or revoked in the middle of a run: from that request on."""

    async def main() -> None:
        async with virtual_endpoint(faults=(fault,)) as (_, talker):
            seen = [(await talker.chat(headers=bearer(GOOD)))[0] for _ in range(4)]
            assert seen == statuses

    run_virtually(main())


def test_scripted_loss_of_credit() -> None:
    """402 from the router from that request on; the data plane does not care."""

    async def main() -> None:
        faults = (Fault(SpendCredits(), nth=2),)
        async with virtual_endpoint(faults=faults, models=MODELS) as (_, talker):
            path, body = "/router/v1/chat/completions", {"model": "org/open", **CHAT}
            seen = [(await talker.post(path, body, headers=bearer(GOOD)))[0] for _ in range(3)]
            assert seen == [200, 402, 402]
            assert (await talker.chat())[0] == 200

    run_virtually(main())
