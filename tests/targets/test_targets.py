"""Targets by name, `model_id` or `endpoint_name`, through the real client libraries."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from target_samples import GOOD, HELLO, POOR, TOKENS, Start, deployed, said, tokens_sent

from distilabel_endpoints.errors import (
    AccessError,
    AuthenticationError,
    ConfigurationError,
    CreditError,
    ModelNotFoundError,
    UnavailableError,
)
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.records import Server
from distilabel_endpoints.testing import (
    Deployment,
    Fault,
    Hang,
    HubModel,
    Respond,
    Rewrite,
    SimulatedEndpoint,
    Token,
)

MODELS = (
    HubModel("org/open", providers=("together", "hf-inference")),
    HubModel("org/gated", gated=True),
    HubModel("org/unserved", providers=()),
    HubModel("org/broken", providers=("together",), status="error"),
)
CONTROL = "/control/v2/endpoint/ada/mine"


@pytest.fixture(params=[False, True], ids=["hub", "openai"])
def use_openai_client(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(autouse=True)
def nothing_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No token lies about on this machine; gives back where one would be saved."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "token"


@pytest.fixture
def hub(simulated_hugging_face: Start) -> SimulatedEndpoint:
    """A Hub with some models and two tokens."""
    return simulated_hugging_face(tokens=TOKENS, models=MODELS)


def test_serverless_as_documented(
    hub: SimulatedEndpoint, use_openai_client: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented call: the router gets model, token and nothing else to bill to."""
    monkeypatch.setenv("HF_TOKEN", GOOD)
    llm = InferenceEndpointsLLM(model_id="org/open", use_openai_client=use_openai_client)
    llm.load()
    assert isinstance(llm.generate(inputs=[HELLO])[0][0], str)
    assert isinstance(asyncio.run(llm.agenerate(input=HELLO))[0], str)
    assert [record.path for record in hub.generations] == ["/router/v1/chat/completions"] * 2
    assert {record.body["model"] for record in hub.generations} == {"org/open"}
    assert tokens_sent(hub) == {f"Bearer {GOOD}"}
    assert "x-hf-bill-to" not in hub.generations[0].headers
    assert llm.base_url == hub.router_url
    assert llm.model_name == "org/open"
    assert llm.describe().server is Server.ROUTER
    llm.close()


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ({"model_id": "org/open", "provider": "together"}, "org/open:together"),
        ({"model_id": "org/open", "provider": "auto"}, "org/open"),
        ({"model_id": "org/open", "provider": "fastest"}, "org/open:fastest"),
        ({"model_id": "org/open:hf-inference"}, "org/open:hf-inference"),
    ],
)
def test_provider_and_payer(
    named: dict[str, Any], sent: str, hub: SimulatedEndpoint, use_openai_client: bool
) -> None:
    """A provider stands behind the model's name; who pays stands in a header."""
    with InferenceEndpointsLLM(
        **named, bill_to="lab", api_key=GOOD, use_openai_client=use_openai_client
    ) as llm:
        assert llm.generate([HELLO])[0][0]
    (record,) = hub.generations
    assert record.body["model"] == sent
    assert record.headers["x-hf-bill-to"] == "lab"


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"model_id": "org/open"}, AuthenticationError, r"needs a token.*HF_TOKEN.*hf auth login"),
        ({"model_id": "org/open", "api_key": "sk-1"}, ConfigurationError, "hf_.*base_url"),
        ({"model_id": "org/open", "api_key": "hf_no"}, AuthenticationError, "token was rejected"),
        ({"model_id": "org/open", "api_key": POOR}, AccessError, "Inference Providers.*settings"),
        ({"model_id": "org/none", "api_key": GOOD}, ModelNotFoundError, "'org/none'.*model_id"),
        ({"model_id": "org/unserved", "api_key": GOOD}, ModelNotFoundError, "no Inference Prov"),
        ({"model_id": "org/broken", "api_key": GOOD}, ModelNotFoundError, "no Inference Prov"),
        (
            {"model_id": "org/open", "provider": "groq", "api_key": GOOD},
            ModelNotFoundError,
            "groq does not serve.*hf-inference, together",
        ),
        ({"model_id": "org/open:groq", "api_key": GOOD}, ModelNotFoundError, "groq does not"),
        (
            {"model_id": "org/open:groq", "provider": "together", "api_key": GOOD},
            ConfigurationError,
            "groq.*together.*Keep one",
        ),
        ({"model_id": "./a/b/c", "api_key": GOOD}, ConfigurationError, "model_id './a/b/c'"),
        (
            {"model_id": "org/open", "tokenizer_id": "org/gated", "api_key": GOOD},
            ConfigurationError,
            "tokenizer_id.*leave tokenizer_id out.*endpoint_name",
        ),
    ],
)
def test_serverless_errors_at_load(
    attributes: dict[str, Any],
    error: type[Exception],
    message: str,
    hub: SimulatedEndpoint,
    use_openai_client: bool,
) -> None:
    """Each its own class and words, before any generation is sent."""
    llm = InferenceEndpointsLLM(**attributes, use_openai_client=use_openai_client)
    with pytest.raises(error, match=f"(?s){message}") as caught:
        llm.load()
    assert not hub.generations
    assert GOOD not in repr(caught.value)


def test_a_gated_model_that_the_hub_hides(hub: SimulatedEndpoint) -> None:
    """403 with the Hub's code for gates: where to ask for access is said."""
    restricted = Respond(403, {"error": "restricted"}, headers=(("X-Error-Code", "GatedRepo"),))
    hub.add_faults(Fault(restricted, path="/hub/api/models/org/gated"))
    with pytest.raises(AccessError, match=r"gated.*org/gated, then run again"):
        InferenceEndpointsLLM(model_id="org/gated", api_key=GOOD).load()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({"model_id": "org/gated"}, "restricted"), ({"model_id": "org/open", "bill_to": "x"}, "bill")],
)
def test_the_routers_own_refusal(
    attributes: dict[str, Any], message: str, hub: SimulatedEndpoint, use_openai_client: bool
) -> None:
    """What only the router knows ends the run with its own words."""
    with (
        InferenceEndpointsLLM(
            **attributes, api_key=GOOD, use_openai_client=use_openai_client
        ) as llm,
        pytest.raises(AccessError, match=message),
    ):
        llm.generate([HELLO])


def test_credits_end_in_the_middle(simulated_hugging_face: Start, use_openai_client: bool) -> None:
    """`CreditError`, with what was paid for."""
    simulated_hugging_face(tokens=TOKENS, models=MODELS, credits=3)
    with (
        InferenceEndpointsLLM(
            model_id="org/open",
            api_key=GOOD,
            max_concurrency=1,
            use_openai_client=use_openai_client,
        ) as llm,
        pytest.raises(CreditError, match="credit") as caught,
    ):
        llm.generate([[{"role": "user", "content": f"Row {n}"}] for n in range(6)])
    assert [output is None for output in caught.value.outputs] == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [(Respond(200, "<h1>Hello</h1>"), "cannot be read"), (Respond(200, [1]), "cannot be read")],
)
def test_a_hub_that_is_none(fault: Respond, message: str, hub: SimulatedEndpoint) -> None:
    """Whatever `HF_ENDPOINT` points at, the error is ours."""
    hub.add_faults(Fault(fault, path="*"))
    with pytest.raises(UnavailableError, match=message):
        InferenceEndpointsLLM(model_id="org/open", api_key=GOOD).load()


def test_a_hub_that_hangs(hub: SimulatedEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library would wait forever."""
    monkeypatch.setattr("distilabel_endpoints._targets.hub.ANSWER_SECONDS", 0.3)
    hub.add_faults(Fault(Hang(), path="*"))
    with pytest.raises(UnavailableError, match="Hugging Face cannot be reached: no answer in"):
        InferenceEndpointsLLM(model_id="org/open", api_key=GOOD).load()


def test_offline_mode(hub: SimulatedEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """`HF_HUB_OFFLINE` is named; it does not stop a `base_url`."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE"):
        InferenceEndpointsLLM(model_id="org/open", api_key=GOOD).load()
    with InferenceEndpointsLLM(base_url=hub.url, api_key=GOOD) as llm:
        assert llm.generate([HELLO])[0][0]


@pytest.mark.parametrize("namespace", [None, "ada"])
def test_dedicated_as_documented(
    namespace: str | None, simulated_hugging_face: Start, use_openai_client: bool
) -> None:
    """Name, key and namespace (default: the key's own): the rest is the endpoint's."""
    endpoint = deployed(simulated_hugging_face)
    llm = InferenceEndpointsLLM(
        endpoint_name="mine",
        api_key=GOOD,
        endpoint_namespace=namespace,
        use_openai_client=use_openai_client,
    )
    assert llm.model_name == "mine"
    llm.load()
    assert isinstance(llm.generate(inputs=[HELLO])[0][0], str)
    assert llm.base_url == endpoint.url
    assert llm.model_name == "org/open"
    assert llm.describe().server is Server.VLLM
    assert tokens_sent(endpoint) == {f"Bearer {GOOD}"}
    assert endpoint.generations[0].body["model"] == "org/open"
    llm.close()


def test_a_given_base_url_is_overwritten(simulated_hugging_face: Start) -> None:
    """One warning when it is made; nothing is asked of that URL."""
    endpoint = deployed(simulated_hugging_face)
    with pytest.warns(UserWarning, match="base_url is ignored: endpoint_name") as caught:
        llm = InferenceEndpointsLLM(
            endpoint_name="mine", api_key=GOOD, base_url="http://127.0.0.1:9"
        )
    assert len(caught) == 1
    with llm:
        assert llm.base_url == endpoint.url


@pytest.mark.parametrize(
    ("image", "server"),
    [("tgi", Server.TGI), ("sGLang", Server.SGLANG), ("llamacpp", Server.LLAMACPP)],
)
def test_the_image_names_the_server(
    image: str, server: Server, simulated_hugging_face: Start
) -> None:
    """Where the server itself does not say what it is, the control plane does."""
    simulated_hugging_face(
        tokens=TOKENS, deployment=Deployment("mine", namespace="ada", image=image)
    )
    with InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD) as llm:
        assert llm.describe().server is server


@pytest.mark.parametrize("state", ["paused", "scaledToZero"])
def test_an_endpoint_that_sleeps_is_started(
    state: str, simulated_hugging_face: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """It is resumed, and that is said."""
    endpoint = deployed(simulated_hugging_face, state, wake_seconds=0.3)
    with InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD) as llm:
        assert llm.generate([HELLO])[0][0]
    assert next(r.path for r in endpoint.requests if r.method == "POST") == f"{CONTROL}/resume"
    assert said(caplog)[0] == f"endpoint mine is {state}; starting it"


@pytest.mark.parametrize("state", ["initializing", "pending", "updating"])
def test_an_endpoint_that_starts_is_waited_for(
    state: str, simulated_hugging_face: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as it says so; each state is said once."""
    endpoint = deployed(simulated_hugging_face)

    def starting(found: Any) -> Any:
        return {**found, "status": {**found["status"], "state": state}}

    endpoint.add_faults(Fault(Rewrite(starting), times=2, path=CONTROL))
    with InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD) as llm:
        assert llm.generate([HELLO])[0][0]
    assert said(caplog) == [f"endpoint mine is {state}; waited 0 s of 900 s at most"]


@pytest.mark.parametrize("state", ["failed", "updateFailed"])
def test_a_failed_endpoint_says_why(state: str, simulated_hugging_face: Start) -> None:
    """The control plane's own message, and no wait."""
    endpoint = deployed(simulated_hugging_face, state)

    def with_reason(found: Any) -> Any:
        return {**found, "status": {**found["status"], "message": "CUDA out of memory"}}

    endpoint.add_faults(Fault(Rewrite(with_reason), path=CONTROL))
    with pytest.raises(UnavailableError, match=f"is {state}: CUDA out of memory"):
        InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD).load()


def test_a_start_that_fails(simulated_hugging_face: Start) -> None:
    """Resumed, and failed on the way up."""
    deployed(simulated_hugging_face, "paused", wake_seconds=0.1, wake_fails=True)
    with pytest.raises(UnavailableError, match="is failed"):
        InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD).load()


def test_a_wait_ends(simulated_hugging_face: Start) -> None:
    """After `wait_ready` seconds the state is said, and the attribute."""
    deployed(simulated_hugging_face, "pending", wake_seconds=1e6)
    llm = InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD, wait_ready=0.6)
    with pytest.raises(UnavailableError, match=r"still pending after 1 s.*wait_ready"):
        llm.load()


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"endpoint_name": "mine"}, AuthenticationError, "needs a token"),
        ({"endpoint_name": "mine", "api_key": "hf_no"}, AuthenticationError, "rejected"),
        ({"endpoint_name": "other", "api_key": GOOD}, ModelNotFoundError, "'other'.*own namespace"),
        (
            {"endpoint_name": "mine", "endpoint_namespace": "lab", "api_key": GOOD},
            ModelNotFoundError,
            "'mine' in the namespace 'lab'.*endpoint_namespace",
        ),
        (
            {"endpoint_name": "mine", "endpoint_namespace": "eve", "api_key": GOOD},
            AccessError,
            "No access to namespace eve",
        ),
    ],
)
def test_dedicated_errors_at_load(
    attributes: dict[str, Any],
    error: type[Exception],
    message: str,
    simulated_hugging_face: Start,
    use_openai_client: bool,
) -> None:
    """Token, name, namespace: each its own class and words."""
    endpoint = deployed(simulated_hugging_face)
    with pytest.raises(error, match=message):
        InferenceEndpointsLLM(**attributes, use_openai_client=use_openai_client).load()
    assert not endpoint.generations


def test_no_right_to_start_it(simulated_hugging_face: Start) -> None:
    """403 to the resume: start it by hand, or use another token."""
    endpoint = deployed(simulated_hugging_face, "paused")
    endpoint.add_faults(Fault(Respond(403, {"error": "no"}), path=f"{CONTROL}/resume"))
    with pytest.raises(AccessError, match=r"'mine' is paused.*may not start it.*write access"):
        InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD).load()


def test_an_endpoint_without_tls_gets_no_token(simulated_hugging_face: Start) -> None:
    """Not even where the control plane says that it is there."""
    endpoint = deployed(simulated_hugging_face)

    def elsewhere(found: Any) -> Any:
        return {**found, "status": {**found["status"], "url": "http://endpoint.example"}}

    endpoint.add_faults(Fault(Rewrite(elsewhere), path=CONTROL))
    with pytest.raises(ConfigurationError, match=r"endpoint\.example over plain http"):
        InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD).load()


def test_a_control_plane_that_hiccups(simulated_hugging_face: Start) -> None:
    """Its library asks once; we ask again."""
    endpoint = deployed(simulated_hugging_face)
    endpoint.add_faults(Fault(Respond(503), times=2, path=CONTROL))
    with InferenceEndpointsLLM(endpoint_name="mine", api_key=GOOD) as llm:
        assert llm.base_url == endpoint.url


def test_white_space_around_a_key(hub: SimulatedEndpoint, simulated_hugging_face: Start) -> None:
    """What a file left at its end is not part of the token, wherever it is sent."""
    with InferenceEndpointsLLM(model_id="org/open", api_key=f"{GOOD}\n") as llm:
        assert llm.generate([HELLO])[0][0]
    deployed(simulated_hugging_face)
    with InferenceEndpointsLLM(endpoint_name="mine", api_key=f" {GOOD} ") as llm:
        assert llm.generate([HELLO])[0][0]
    with pytest.raises(ConfigurationError, match="api_key holds a character"):
        InferenceEndpointsLLM(model_id="org/open", api_key=f"{GOOD}\nX-Evil: 1").load()


DOCUMENT = Path(__file__).parents[2] / "docs" / "targets.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["model", "endpoint", "url", "several", "error"])
def test_the_blocks_of_the_page_run(
    block: str,
    simulated_hugging_face: Start,
    simulated_endpoint: Start,
    monkeypatch: pytest.MonkeyPatch,
    unused_port: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """docs/targets.md as it stands, with its three local ports moved to where they are here."""
    monkeypatch.setenv("HF_TOKEN", GOOD)
    endpoint = simulated_hugging_face(
        flavor="tgi",
        tokens=(Token(GOOD, user="ada"), Token("hf_mine", user="ada")),
        models=(HubModel("mistralai/Mistral-7B-Instruct-v0.2"),),
        deployment=Deployment("my-endpoint", namespace="ada"),
    )
    other = simulated_endpoint(flavor="tgi")
    block = block.replace("localhost:8080", f"127.0.0.1:{endpoint.port}")
    block = block.replace("localhost:8081", f"127.0.0.1:{other.port}")
    names: dict[str, Any] = {}
    exec(block.replace("localhost:9", f"127.0.0.1:{unused_port}"), names)
    names["llm"].close()
    assert "output" not in names or isinstance(names["output"][0][0], str)
    assert ("print(" in block) == bool(capsys.readouterr().out)
