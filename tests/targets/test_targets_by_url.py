"""Targets by `base_url`, and which key goes there, through the real client libraries."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from huggingface_hub import constants
from target_samples import (
    GOOD,
    HELLO,
    Start,
    below_a_prefix,
    deployed,
    said,
    tokens_sent,
)

from distilabel_endpoints._clients import transport
from distilabel_endpoints.errors import (
    AccessError,
    AuthenticationError,
    ConfigurationError,
    TargetError,
    UnavailableError,
)
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.records import Route, Server
from distilabel_endpoints.testing import Fault, Limits, Respond, Rewrite, SimulatedEndpoint
from distilabel_endpoints.testing.endpoint_settings import FLAVORS, FlavorName

PAGE = "<!doctype html><title>Sign in</title><p>Welcome"


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


@pytest.mark.parametrize("flavor", ["vllm", "tgi"])
@pytest.mark.parametrize(
    "suffix", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/completions", "/generate"]
)
def test_every_spelling_of_a_url(
    suffix: str, flavor: FlavorName, simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """They mean the same server, and its chat route."""
    endpoint = simulated_endpoint(flavor=flavor, model="org/open")
    with InferenceEndpointsLLM(
        base_url=endpoint.url + suffix, use_openai_client=use_openai_client
    ) as llm:
        assert llm.generate([HELLO])[0][0]
        assert llm.model_name == "org/open"
    assert [record.path for record in endpoint.generations] == ["/v1/chat/completions"]
    assert tokens_sent(endpoint) == {None}


@pytest.mark.parametrize("flavor", ["vllm", "tgi"])
@pytest.mark.parametrize("suffix", ["", "/v1", "/v1/chat/completions", "/generate/"])
def test_below_a_path(
    suffix: str, flavor: FlavorName, simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """A gateway's prefix, or vLLM's root path, is kept before every route."""
    endpoint = simulated_endpoint(flavor=flavor, model="org/open")
    with (
        below_a_prefix(endpoint) as url,
        InferenceEndpointsLLM(base_url=url + suffix, use_openai_client=use_openai_client) as llm,
    ):
        assert llm.generate([HELLO])[0][0]
        assert llm.describe().server.value == flavor
        assert llm.describe().url == url


def second_model(listed: Any) -> Any:
    """A list of models with one more in it."""
    return {**listed, "data": [*listed["data"], {**listed["data"][0], "id": "org/other"}]}


def test_several_served_models(simulated_endpoint: Start, use_openai_client: bool) -> None:
    """Without `served_model` the error lists them; with it, it is the name that is sent."""
    endpoint = simulated_endpoint(flavor="vllm", model="org/open")
    endpoint.add_faults(Fault(Rewrite(second_model), path="/v1/models"))
    options = {"base_url": endpoint.url, "use_openai_client": use_openai_client}
    with pytest.raises(ConfigurationError, match="served_model: org/open, org/other"):
        InferenceEndpointsLLM(**options).load()
    with InferenceEndpointsLLM(**options, served_model="org/open") as llm:
        assert llm.generate([HELLO])[0][0]
    assert {record.body["model"] for record in endpoint.generations} == {"org/open"}


@pytest.mark.parametrize("name", ["org/open:nitro", "my-deployment", "org/open:together"])
def test_a_name_that_is_not_listed_is_sent(
    name: str, simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """One warning shows what is listed; whether the name is right, the server knows."""
    endpoint = simulated_endpoint(flavor="llamacpp", model="org/open")
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url, served_model=name, use_openai_client=use_openai_client
    )
    with pytest.warns(UserWarning, match=rf"'{name}' is not among.*\(org/open\)"):
        llm.load()
    with llm:
        assert llm.generate([HELLO])[0][0]
        assert llm.model_name == name
    assert {record.body["model"] for record in endpoint.generations} == {name}


@pytest.mark.parametrize("prefix", ["/v1/openai", "/serving-endpoints", "/api", "/deployed", ""])
@pytest.mark.parametrize("refusal", [None, 404, 400])
@pytest.mark.filterwarnings("ignore:.*does not say which model", "ignore:.*cannot be listed")
def test_an_api_without_a_version_in_its_path(
    prefix: str, refusal: int | None, simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """It is found where it is, by its list of models or by its chat route."""
    endpoint = simulated_endpoint(flavor="tgi", model="org/open")
    if refusal is not None:
        endpoint.add_faults(Fault(Respond(refusal), path="/v1/models"))
    with (
        below_a_prefix(endpoint, prefix, "/v1") as url,
        InferenceEndpointsLLM(base_url=url, use_openai_client=use_openai_client) as llm,
    ):
        assert llm.generate([HELLO])[0][0]
    assert endpoint.generations[-1].path == "/v1/chat/completions"


def test_a_query_is_sent_with_every_request(
    simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """Probes and generations have it, streamed and not, as Azure's `api-version`."""
    endpoint = simulated_endpoint(flavor="vllm")
    with InferenceEndpointsLLM(
        base_url=f"{endpoint.v1_url}?api-version=2024-10-21",
        use_openai_client=use_openai_client,
    ) as llm:
        assert llm.generate([HELLO])[0][0]
        assert llm.generate([HELLO], max_new_tokens=3000)[0][0]
    assert {record.query for record in endpoint.requests} == {"api-version=2024-10-21"}


MOVED = Respond(307, "", headers=(("Location", "/v1/models/"),))
NO_MODELS = [
    Respond(401, {"error": "Missing scopes: api.model.read"}),
    Respond(403, {"error": "Missing scopes: api.model.read"}),
    Respond(404),
    Respond(500),
    Respond(200, PAGE, content_type="text/html"),
    Respond(200, {"object": "list", "data": []}),
    Respond(200, "ok", content_type="text/plain"),
    MOVED,
]


@pytest.mark.parametrize("answer", NO_MODELS, ids=["401", "403", "404", "500", "page", "empty",
                                                   "text", "redirect"])  # fmt: skip
def test_models_that_cannot_be_listed(
    answer: Respond, simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """They end nothing while chat works; one warning names `served_model`."""
    endpoint = simulated_endpoint(flavor="llamacpp", faults=(Fault(answer, path="/v1/models"),))
    llm = InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client)
    with pytest.warns(UserWarning, match="served_model") as caught:
        llm.load()
    assert len(caught) == 1
    with llm:
        assert llm.generate([HELLO])[0][0]


@pytest.mark.parametrize("status", [429, 503])
def test_models_that_are_turned_away_for_good(
    status: int, simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """With a name, and a chat route that is there, the object loads, and one warning says why."""
    answer = Fault(Respond(status), path="/v1/models")
    endpoint = simulated_endpoint(flavor="vllm", model="org/open", faults=(answer,))
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url,
        use_openai_client=use_openai_client,
        served_model="org/open",
        wait_ready=0.1,
    )
    with pytest.warns(UserWarning, match="cannot be listed"):
        llm.load()
    with llm:
        assert llm.generate([HELLO])[0][0]
    nameless = InferenceEndpointsLLM(base_url=endpoint.url, wait_ready=0.1)
    with pytest.raises(UnavailableError):
        nameless.load()


@pytest.mark.parametrize(
    ("key", "model"),
    [
        *(("data", {"id": "org/open"}), ("models", {"id": "org/open"}), (None, {"id": "org/open"})),
        *(("models", {"name": "org/open", "model": "org/open"}), (None, "org/open")),
        ("result", {"id": "org/open"}),
    ],
)
def test_a_list_of_models_in_other_words(
    key: str | None, model: Any, simulated_endpoint: Start
) -> None:
    """OpenAI's `data`, `models`, or a bare list as Together has it; objects, or names alone."""
    models = {key: [model]} if key else [model]
    for listed in (models, {"code": 0, "data": models}):
        answer = Respond(200, listed)
        endpoint = simulated_endpoint(faults=(Fault(answer, path="/v1/models"),))
        with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
            assert llm.describe().model == "org/open"


def test_a_server_that_starts_is_waited_for(
    simulated_endpoint: Start, caplog: pytest.LogCaptureFixture, use_openai_client: bool
) -> None:
    """503 means: not yet."""
    loading = Respond(503, {"error": {"code": 503, "message": "Loading model"}})
    endpoint = simulated_endpoint(faults=(Fault(loading, times=2, path="/v1/models"),))
    with InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client) as llm:
        assert llm.generate([HELLO])[0][0]
    (line,) = said(caplog)
    assert line.startswith(f"{endpoint.url} is not ready (Loading model")


@pytest.mark.parametrize(("status", "times"), [(500, 2), (502, 4), (429, 1)])
def test_a_probe_is_not_put_off_by_a_hiccup(
    status: int, times: int, simulated_endpoint: Start
) -> None:
    """Or by a gateway before a server that does not listen yet: the model's name is found."""
    endpoint = simulated_endpoint(flavor="vllm", model="org/open")
    endpoint.add_faults(Fault(Respond(status), times=times, path="/v1/models"))
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        assert llm.describe().model == "org/open"


class StartsWhenWaitedFor(logging.Handler):
    """Opens the port as soon as somebody reports waiting for it."""

    def __init__(self, start: Callable[[], object]) -> None:
        super().__init__(logging.WARNING)
        self.start: Callable[[], object] | None = start

    def emit(self, record: logging.LogRecord) -> None:
        start, self.start = self.start, None
        if start is not None:
            start()


def test_a_port_that_opens_later(
    simulated_endpoint: Start, unused_port: int, use_openai_client: bool
) -> None:
    """It is waited for if a time to wait was named."""
    url = f"http://127.0.0.1:{unused_port}"
    handler = StartsWhenWaitedFor(lambda: simulated_endpoint(port=unused_port, flavor="vllm"))
    logger = logging.getLogger("distilabel_endpoints")
    logger.addHandler(handler)
    llm = InferenceEndpointsLLM(base_url=url, wait_ready=60, use_openai_client=use_openai_client)
    try:
        with llm:
            assert llm.generate([HELLO])[0][0]
    finally:
        logger.removeHandler(handler)
    assert handler.start is None


@pytest.mark.parametrize("saved", [False, True])
def test_a_port_that_is_not_open(unused_port: int, saved: bool) -> None:
    """It ends `load()` at once if no time was named, also by an object that was saved."""
    llm = InferenceEndpointsLLM(base_url=f"http://127.0.0.1:{unused_port}")
    if saved:
        llm = InferenceEndpointsLLM.from_dict(llm.dump())
    with pytest.raises(UnavailableError, match=r"refused.*Nothing listens there"):
        llm.load()


def test_https_to_a_port_without_tls(
    simulated_endpoint: Start, monkeypatch: pytest.MonkeyPatch, use_openai_client: bool
) -> None:
    """One that answers and one that keeps silent: both end `load()` and name the other scheme."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.5)
    endpoint = simulated_endpoint()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (endpoint.port, silent.getsockname()[1]):
            llm = InferenceEndpointsLLM(
                base_url=f"https://127.0.0.1:{port}", use_openai_client=use_openai_client
            )
            with pytest.raises(TargetError, match=r"does not speak https.*http://"):
                llm.load()


def test_http_to_a_port_with_tls(simulated_endpoint: Start, use_openai_client: bool) -> None:
    """Its alert is not taken for a server that does not say what it serves."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    endpoint = simulated_endpoint(tls=context)
    llm = InferenceEndpointsLLM(
        base_url=f"http://127.0.0.1:{endpoint.port}", use_openai_client=use_openai_client
    )
    with pytest.raises((TargetError, UnavailableError), match="https"):
        llm.load()


def test_a_server_that_takes_connections_and_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is waited for as one that starts; then `load()` fails."""
    monkeypatch.setattr("distilabel_endpoints._targets.probe.PROBE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnavailableError, match="no answer within"):
            InferenceEndpointsLLM(base_url=url, wait_ready=0.5).load()


def test_a_url_never_gets_ready(simulated_endpoint: Start) -> None:
    """After `wait_ready` seconds: where, how long, and the server's words."""
    endpoint = simulated_endpoint(limits=Limits(unavailable_for=1e6))
    llm = InferenceEndpointsLLM(base_url=endpoint.url, wait_ready=0.6)
    with pytest.raises(
        UnavailableError, match=f"{endpoint.url} is not ready after 1 s.*wait_ready"
    ):
        llm.load()


def test_a_url_that_wakes_on_request(simulated_endpoint: Start, use_openai_client: bool) -> None:
    """Scaled to zero: the first question wakes it."""
    endpoint = deployed(simulated_endpoint, "scaledToZero", wake_seconds=0.4)
    with InferenceEndpointsLLM(
        base_url=endpoint.url, api_key=GOOD, use_openai_client=use_openai_client
    ) as llm:
        assert llm.generate([HELLO])[0][0]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (Respond(401, {"error": "Invalid API key"}), AuthenticationError, "Invalid API key.*api_k"),
        (
            Respond(400, {"error": {"message": "No connected db.", "type": "no_db_connection"}}),
            AuthenticationError,
            "LiteLLM proxy without a database|No key was sent",
        ),
        (Respond(403, {"error": "Forbidden"}), AccessError, "Forbidden"),
        (Respond(200, PAGE, content_type="text/html"), TargetError, "a web page: 'Sign in'"),
    ],
)
def test_url_errors_at_load(
    answer: Respond,
    error: type[Exception],
    message: str,
    simulated_endpoint: Start,
    use_openai_client: bool,
) -> None:
    """A key that is refused, and a URL that is none of an API: chat says the same as the list."""
    endpoint = simulated_endpoint(faults=(Fault(answer, path="*"),))
    with pytest.raises(error, match=message):
        InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client).load()
    assert all(record.body == {} for record in endpoint.generations)


@pytest.mark.parametrize("path", ["*", "/v1/chat/completions"])
def test_a_redirect_is_not_followed(
    path: str, simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """The new place is named, and neither prompt nor key arrives there."""
    other = simulated_endpoint()
    moved = Respond(307, "", headers=(("Location", f"{other.url}/v1"),))
    endpoint = simulated_endpoint(faults=(Fault(moved, path=path),))
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url, api_key=GOOD, use_openai_client=use_openai_client
    )
    with pytest.raises(TargetError, match=f"redirect to {other.url}"):
        llm.generate([HELLO])
    llm.close()
    assert not other.requests


@pytest.mark.parametrize("answer", [Respond(403), Respond(503), Respond(302), Respond(200, PAGE)])
def test_only_tgi_is_asked_for_its_info(answer: Respond, simulated_endpoint: Start) -> None:
    """What a gateway says to a path that it does not know is not the server's word."""
    endpoint = simulated_endpoint(flavor="vllm", faults=(Fault(answer, path="/info"),))
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        assert llm.generate([HELLO])[0][0]


def test_plain_http_to_a_port_with_tls(simulated_endpoint: Start, use_openai_client: bool) -> None:
    """nginx answers it, with a 400: the object does not load, and the error names https."""
    page = "<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>"
    answer = Respond(400, page, content_type="text/html")
    endpoint = simulated_endpoint(faults=(Fault(answer, path="*"),))
    llm = InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client)
    with pytest.raises(TargetError, match="https://"):
        llm.load()


@pytest.mark.parametrize("flavor", FLAVORS)
def test_describe(flavor: FlavorName, simulated_endpoint: Start, use_openai_client: bool) -> None:
    """Server, route, client, model and what can be asked; nothing is claimed of a stranger."""
    endpoint = simulated_endpoint(flavor=flavor, model="org/open")
    with InferenceEndpointsLLM(
        base_url=endpoint.v1_url, use_openai_client=use_openai_client
    ) as llm:
        seen = llm.describe()
    assert seen.target == f"base_url={endpoint.v1_url}"
    assert seen.url == endpoint.url
    assert seen.server is (Server.UNKNOWN if flavor == "openai" else Server(flavor))
    assert seen.route is (Route.OPENAI_CHAT if use_openai_client else Route.HUB_CHAT)
    library = "openai.AsyncOpenAI" if use_openai_client else "huggingface_hub.AsyncInferenceClient"
    assert seen.client == library
    assert seen.model == "org/open"
    confirmed = flavor != "openai"
    assert ("json" in seen.capabilities.structured_output) is confirmed
    assert ("json" in seen.capabilities.unconfirmed) is not confirmed
    assert ("repetition_penalty" in seen.capabilities.unconfirmed) is not confirmed
    assert "temperature" in seen.capabilities.parameters


@pytest.mark.parametrize("obeys", [True, False])
def test_a_stranger_whose_answers_have_the_format_is_described_so(
    obeys: bool, simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """One that was seen to ignore the format is neither claimed nor left open."""
    faults = () if obeys else (Fault(Rewrite(_in_prose), times=1),)
    endpoint = simulated_endpoint(flavor="openai", model="org/open", faults=faults)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    with InferenceEndpointsLLM(
        base_url=endpoint.v1_url,
        use_openai_client=use_openai_client,
        structured_output={"format": "json", "schema": schema},
    ) as llm:
        assert "json" in llm.describe().capabilities.unconfirmed
        llm.generate([HELLO])
        llm.generate([HELLO])
        seen = llm.describe().capabilities
    assert "json" not in seen.unconfirmed
    assert "repetition_penalty" in seen.unconfirmed
    assert seen.structured_output == (("json",) if obeys else ())


def _in_prose(answer: dict[str, Any]) -> dict[str, Any]:
    answer["choices"][0]["message"]["content"] = "Here is your JSON."
    return answer


def test_precedence_of_keys(
    simulated_endpoint: Start,
    nothing_saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    use_openai_client: bool,
) -> None:
    """`api_key`, then `HF_TOKEN` as it was when the object was made, then the saved token."""
    endpoint = simulated_endpoint()

    def made(**given: Any) -> InferenceEndpointsLLM:
        return InferenceEndpointsLLM(
            base_url=endpoint.url, use_openai_client=use_openai_client, **given
        )

    keyless = made()
    nothing_saved.write_text("hf_saved\n")
    saved = made()
    monkeypatch.setenv("HF_TOKEN", "hf_early")
    early, given = made(), made(api_key="hf_given")
    monkeypatch.setenv("HF_TOKEN", "hf_late")
    for llm, token in ((early, "hf_early"), (given, "hf_given")):
        assert sent_by(llm, endpoint) == f"Bearer {token}"
    monkeypatch.delenv("HF_TOKEN")
    assert sent_by(saved, endpoint) == "Bearer hf_saved"
    nothing_saved.unlink()
    assert sent_by(keyless, endpoint) is None


def sent_by(llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint) -> str | None:
    """The credentials of every request that this object makes, probes included."""
    endpoint.clear_log()
    with llm:
        llm.generate([HELLO])
    (token,) = {record.headers.get("authorization") for record in endpoint.requests}
    return token
