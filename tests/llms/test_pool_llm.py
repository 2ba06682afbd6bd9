"""One object, several endpoints: what is agreed at load, what is sent where, what is told."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints.errors import AuthenticationError, ConfigurationError, UnavailableError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.records import Server
from distilabel_endpoints.testing import Latency, SimulatedEndpoint, Token

Make = Callable[..., SimulatedEndpoint]
HELLO: Any = [{"role": "user", "content": "Hello world!"}]
WHOLE = '{"n": "one two three four five"}'


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))


def two(make: Make, **settings: Any) -> tuple[list[SimulatedEndpoint], list[str]]:
    endpoints = [make(**settings) for _ in range(2)]
    return endpoints, [endpoint.url for endpoint in endpoints]


@pytest.mark.parametrize("use_openai_client", [False, True])
def test_a_list_of_urls_is_one_target(simulated_endpoint: Make, use_openai_client: bool) -> None:
    """Every input is answered once, in order, by endpoints that share the work."""
    endpoints, urls = two(simulated_endpoint, flavor="vllm", slots=4, latency=Latency(0.01))
    with InferenceEndpointsLLM(base_url=urls, use_openai_client=use_openai_client) as llm:
        found = llm.generate([HELLO] * 200)
        statistics = llm.statistics()
    assert len(found) == 200
    assert all(text for (text,) in found)
    sent = [len(endpoint.generations) for endpoint in endpoints]
    assert sum(sent) == 200
    assert min(sent) > 60
    assert set(statistics.endpoints) == set(urls)
    assert sum(part.sent for part in statistics.endpoints.values()) == statistics.limiter.sent


def test_single_requests_are_shared_out_too(simulated_endpoint: Make) -> None:
    """`agenerate`, any number at once."""
    endpoints, urls = two(simulated_endpoint, latency=Latency(0.02))

    async def main(llm: InferenceEndpointsLLM) -> None:
        answers = await asyncio.gather(*(llm.agenerate(HELLO) for _ in range(20)))
        assert all(text for (text,) in answers)

    with InferenceEndpointsLLM(base_url=urls) as llm:
        asyncio.run(main(llm))
    assert min(len(endpoint.generations) for endpoint in endpoints) >= 5


def test_the_iterator_goes_over_all_of_them(simulated_endpoint: Make) -> None:
    """`iter_outputs` gives each input once."""
    endpoints, urls = two(simulated_endpoint, latency=Latency(0.01))
    with InferenceEndpointsLLM(base_url=urls, max_concurrency=8) as llm:
        seen = sorted(output["index"] for output in llm.iter_outputs([HELLO] * 60))
    assert seen == list(range(60))
    assert all(endpoint.generations for endpoint in endpoints)


def test_a_list_of_one_is_that_one(simulated_endpoint: Make) -> None:
    """The same identity, and no figures for each."""
    endpoint = simulated_endpoint()
    with (
        InferenceEndpointsLLM(base_url=[endpoint.url]) as several,
        InferenceEndpointsLLM(base_url=endpoint.url) as one,
    ):
        assert several.fingerprint({}) == one.fingerprint({})
        assert several.generate([HELLO]) == one.generate([HELLO])
        assert several.statistics().endpoints == {}


def test_the_urls_are_no_part_of_what_a_run_is(simulated_endpoint: Make) -> None:
    """The model is: a run resumes with more endpoints, or with fewer."""
    _, urls = two(simulated_endpoint, model="org/model")
    with (
        InferenceEndpointsLLM(base_url=urls) as both,
        InferenceEndpointsLLM(base_url=urls[1]) as one,
    ):
        assert both.fingerprint({}) == one.fingerprint({})
        assert both.fingerprint({})["base_url"] is None
        assert both.model_name == "org/model"


def test_endpoints_with_different_models_are_refused(simulated_endpoint: Make) -> None:
    """At load, with each named and what it serves; nothing was generated."""
    endpoints = [simulated_endpoint(model=name) for name in ("org/one", "org/two")]
    llm = InferenceEndpointsLLM(base_url=[endpoint.url for endpoint in endpoints])
    with pytest.raises(ConfigurationError, match="do not serve one model") as caught:
        llm.load()
    for endpoint, name in zip(endpoints, ("org/one", "org/two"), strict=True):
        assert f"{endpoint.url} serves {name}" in str(caught.value)


def test_an_endpoint_that_cannot_be_had_is_named_at_load(simulated_endpoint: Make) -> None:
    """Nothing listens at one, or it wants another key: the error says which."""
    well, gone = simulated_endpoint(), simulated_endpoint()
    gone.refuse_connections()
    with pytest.raises(UnavailableError, match=gone.url):
        InferenceEndpointsLLM(base_url=[well.url, gone.url]).load()
    locked = simulated_endpoint(flavor="vllm", tokens=(Token("hf_other"),))
    with pytest.raises(AuthenticationError, match=locked.url):
        InferenceEndpointsLLM(base_url=[well.url, locked.url], api_key="hf_mine").load()


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ([], "empty"),
        (["http://localhost:1", "http://LOCALHOST:1/v1/"], "twice"),
        (["http://localhost:1", "localhost:2"], "not an http"),
    ],
)
def test_a_list_that_names_no_endpoints_is_refused(urls: list[str], said: str) -> None:
    """None, one twice, one that is no URL: known before anything is sent."""
    with pytest.raises(ConfigurationError, match=said):
        InferenceEndpointsLLM(base_url=urls)


def test_a_key_goes_over_plain_http_to_no_machine_of_the_list() -> None:
    """One readable way is enough to refuse it."""
    with pytest.raises(ConfigurationError, match="plain http"):
        InferenceEndpointsLLM(base_url=["https://a.example", "http://b.example"], api_key="hf_x")


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_the_list_comes_back_from_a_file(tmp_path: Path, ending: str) -> None:
    """dump, save, from_file and copies keep it."""
    urls = ["http://localhost:1", "http://localhost:2/v1"]
    llm = InferenceEndpointsLLM(base_url=urls)
    llm.save(tmp_path / f"llm.{ending}")
    assert InferenceEndpointsLLM.from_file(tmp_path / f"llm.{ending}").base_url == urls
    assert InferenceEndpointsLLM.from_dict(llm.dump()).base_url == urls
    assert copy.copy(llm).base_url == urls
    assert llm.model_name == ", ".join(urls)


def test_each_server_is_asked_in_its_own_words(simulated_endpoint: Make) -> None:
    """TGI and vLLM with one model: structured output constrains at both."""
    kinds = {"vllm": Server.VLLM, "tgi": Server.TGI}
    endpoints = {name: simulated_endpoint(flavor=name, latency=Latency(0.01)) for name in kinds}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    with InferenceEndpointsLLM(
        base_url=[endpoint.url for endpoint in endpoints.values()],
        structured_output={"format": "json", "schema": schema},
    ) as llm:
        outputs = llm.generate_outputs([HELLO] * 40, max_new_tokens=200)
        about = llm.describe()
    assert all(output["errors"] == [None] for output in outputs)
    assert all(endpoint.generations for endpoint in endpoints.values())
    said = {
        name: {record.body["response_format"]["type"] for record in endpoint.generations}
        for name, endpoint in endpoints.items()
    }
    assert said == {"vllm": {"json_schema"}, "tgi": {"json_object"}}
    assert about.endpoints == {endpoints[name].url: kind for name, kind in kinds.items()}
    assert about.server is Server.UNKNOWN
    assert about.url == ", ".join(endpoint.url for endpoint in endpoints.values())
    assert "json" in about.capabilities.structured_output


def test_each_server_is_asked_for_more_in_its_own_words(simulated_endpoint: Make) -> None:
    """Structured output that was cut off at TGI and vLLM: the longer request constrains too."""
    endpoints = {
        name: simulated_endpoint(flavor=name, latency=Latency(0.01), reply=lambda _: WHOLE)
        for name in ("vllm", "tgi")
    }
    schema = {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}
    with InferenceEndpointsLLM(
        base_url=[endpoint.url for endpoint in endpoints.values()],
        structured_output={"format": "json", "schema": schema},
        on_length="grow:10x",
    ) as llm:
        outputs = llm.generate_outputs([HELLO] * 40, max_new_tokens=2)
    assert all(output["generations"] == [WHOLE] for output in outputs)
    for name, kind in (("vllm", "json_schema"), ("tgi", "json_object")):
        longer = [r.body for r in endpoints[name].generations if r.body["max_tokens"] == 20]
        assert longer
        assert {body["response_format"]["type"] for body in longer} == {kind}


def test_an_endpoint_that_dies_costs_no_row(simulated_endpoint: Make) -> None:
    """Its connections break and no new one is taken: the other endpoint does the rest."""
    endpoints, urls = two(simulated_endpoint, slots=4, latency=Latency(0.02))

    def inputs() -> Any:
        for n in range(300):
            if n == 100:
                endpoints[0].refuse_connections()
                endpoints[0].drop_connections()
            yield HELLO

    with InferenceEndpointsLLM(base_url=urls, max_concurrency=8) as llm:
        outputs = list(llm.iter_outputs(inputs()))
        reason = llm.statistics().limiter.reason
    assert len(outputs) == 300
    assert all(output["errors"] == [None] for output in outputs)
    assert "1 of 2 endpoints answer" in reason
