"""The documented class against the simulated endpoint, through both client libraries."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle  # noqa: TID251 - to see what a pickle holds
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints.errors import (
    ConfigurationError,
    ConversationError,
    GenerationError,
    ParameterError,
    RunError,
)
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.testing import Fault, Latency, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
HELLO = [{"role": "user", "content": "Hello world!"}]
CANARY = "hf_CANARYcanaryCANARY"


def row(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(params=[False, True], ids=["hub", "openai"])
def use_openai_client(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def llm(simulated_endpoint: Make, use_openai_client: bool) -> Iterator[InferenceEndpointsLLM]:
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.01))
    with InferenceEndpointsLLM(
        base_url=endpoint.url, use_openai_client=use_openai_client
    ) as opened:
        yield opened


def test_the_documented_calls(simulated_endpoint: Make, use_openai_client: bool) -> None:
    """`load`, `generate` and `await agenerate`, as on the page of distilabel 1.1."""
    endpoint = simulated_endpoint(flavor="vllm")
    llm = InferenceEndpointsLLM(
        api_key="key", base_url=endpoint.url, use_openai_client=use_openai_client
    )
    llm.load()
    output = llm.generate(inputs=[[{"role": "user", "content": "Hello world!"}]])
    assert len(output) == len(output[0]) == 1
    assert isinstance(output[0][0], str)

    async def main() -> list[str | None]:
        return await llm.agenerate(input=[{"role": "user", "content": "Hello world!"}])

    assert isinstance(asyncio.run(main())[0], str)
    assert {record.headers["authorization"] for record in endpoint.generations} == {"Bearer key"}
    llm.close()


def test_outputs_are_in_input_order(llm: InferenceEndpointsLLM) -> None:
    """One list per input, in the order of the inputs, whatever finishes first."""
    inputs = [row(f"row {n}") for n in range(50)]
    together = llm.generate(inputs)
    assert [llm.generate([one])[0] for one in inputs[:5]] == together[:5]
    assert len(together) == 50


def test_no_inputs_no_outputs(llm: InferenceEndpointsLLM) -> None:
    """An empty list is a call that does nothing."""
    assert llm.generate([]) == []


def test_generate_inside_a_running_loop(llm: InferenceEndpointsLLM) -> None:
    """As in a notebook cell: `generate` blocks while a loop runs in the same thread."""

    async def cell() -> list[list[str | None]]:
        return llm.generate([HELLO])

    assert isinstance(asyncio.run(cell())[0][0], str)


def test_generate_from_several_threads_beside_agenerate(llm: InferenceEndpointsLLM) -> None:
    """One object serves threads and loops at the same time."""
    results: list[Any] = []

    def blocking() -> None:
        results.extend(llm.generate([row(f"{threading.get_ident()} {n}") for n in range(10)]))

    async def awaited() -> None:
        results.extend(await asyncio.gather(*(llm.agenerate(row(f"a{n}")) for n in range(20))))

    threads = [threading.Thread(target=blocking) for _ in range(4)]
    threads.append(threading.Thread(target=lambda: asyncio.run(awaited())))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 60
    assert all(isinstance(text, str) for (text,) in results)


def test_one_limit_for_all_callers(simulated_endpoint: Make) -> None:
    """A thousand gathered `agenerate` calls and a second object keep to the same ceiling."""
    endpoint = simulated_endpoint(latency=Latency(0.01))
    with (
        InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=5) as one,
        InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=5) as other,
    ):

        async def main() -> None:
            calls = [llm.agenerate(HELLO) for llm in (one, other) for _ in range(500)]
            await asyncio.gather(*calls)

        asyncio.run(main())
        assert endpoint.peak_in_flight == 5


def test_outputs_have_statistics_and_reasons(llm: InferenceEndpointsLLM) -> None:
    """`generate_outputs` says what was paid and why each text ended."""
    (output,) = llm.generate_outputs([HELLO], max_new_tokens=3, stop_sequences="zzz")
    assert output["errors"] == [None]
    assert output["finish_reasons"] in (["length"], ["stop"])
    assert output["statistics"]["input_tokens"][0]
    assert output["statistics"]["output_tokens"][0] in {1, 2, 3}


def test_outputs_as_they_finish(llm: InferenceEndpointsLLM) -> None:
    """The iterator takes a generator and yields every output with its index."""
    seen = [output["index"] for output in llm.iter_outputs(row(str(n)) for n in range(100))]
    assert sorted(seen) == list(range(100))

    async def main() -> list[int]:
        async def rows() -> Any:
            for n in range(30):
                yield row(str(n))

        return [output["index"] async for output in llm.aiter_outputs(rows())]

    assert sorted(asyncio.run(main())) == list(range(30))


def test_the_iterator_pulls_no_more_than_it_needs(simulated_endpoint: Make) -> None:
    """Breaking off an endless input leaves nothing running, and little was pulled."""
    endpoint = simulated_endpoint(latency=Latency(0.001))
    pulled = 0

    def endless() -> Iterator[list[dict[str, Any]]]:
        nonlocal pulled
        while True:
            pulled += 1
            yield row(str(pulled))

    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=2) as llm:
        for count, _ in enumerate(llm.iter_outputs(endless())):
            if count == 20:
                break
        assert llm.statistics().limiter.in_flight == 0
        assert pulled < 20 + 4 * 32


def test_a_wrong_input_in_the_middle_is_raised_after_the_rest(llm: InferenceEndpointsLLM) -> None:
    """What was pulled before it comes back first; then the error names the row and the field."""
    outputs: list[Any] = []
    given: list[Any] = [HELLO, HELLO, [{"role": "user"}], HELLO]
    with pytest.raises(ConversationError, match=r"inputs\[2\].*content"):
        outputs.extend(llm.iter_outputs(given))
    assert len(outputs) == 2


def test_wrong_inputs_are_refused_before_anything_is_sent(
    simulated_endpoint: Make, use_openai_client: bool
) -> None:
    """One bad conversation among a hundred: an error that names it, and no request."""
    endpoint = simulated_endpoint()
    given: list[Any] = [HELLO] * 99 + [[{"role": "robot", "content": "x"}]]
    with InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client) as llm:
        with pytest.raises(ConversationError, match=r"inputs\[99\]"):
            llm.generate(given)
        with pytest.raises(ParameterError, match="temperature"):
            llm.generate([HELLO], temprature=1)  # type: ignore[call-arg]
        with pytest.raises(ParameterError, match="num_generations"):
            llm.generate([HELLO], num_generations=0)
        assert endpoint.generations == ()


def test_a_rows_failure_is_a_none_with_a_typed_error(
    simulated_endpoint: Make, use_openai_client: bool
) -> None:
    """The other rows are answered; the failed one says why."""
    refused = Fault(Respond(400, {"error": {"message": "too long"}}), marker="bad row")
    endpoint = simulated_endpoint(flavor="vllm", faults=(refused,))
    with InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client) as llm:
        outputs = llm.generate_outputs([HELLO, row("bad row"), HELLO])
        assert [output["generations"][0] is None for output in outputs] == [False, True, False]
        error = outputs[1]["errors"][0]
        assert isinstance(error, GenerationError)
        assert error.failure.kind is FailureKind.ROW
        assert "too long" in str(error)


def test_a_runs_failure_carries_what_was_finished(
    simulated_endpoint: Make, use_openai_client: bool
) -> None:
    """A token revoked half way: the exception has the outputs so far, in input order."""
    revoked = Fault(Respond(401, {"error": "Invalid token"}), marker="too tardy")
    endpoint = simulated_endpoint(faults=(revoked,), latency=Latency(0.01))
    with InferenceEndpointsLLM(
        base_url=endpoint.url, use_openai_client=use_openai_client, max_concurrency=1
    ) as llm:
        with pytest.raises(RunError) as caught:
            llm.generate([row("early 0"), row("early 1"), *(row("too tardy") for _ in range(5))])
        assert [output is None for output in caught.value.outputs] == [False] * 2 + [True] * 5


def test_transient_faults_are_retried(simulated_endpoint: Make, use_openai_client: bool) -> None:
    """Three faults of a kind cost time, not rows."""
    for status in (429, 500, 503):
        endpoint = simulated_endpoint(faults=(Fault(Respond(status), times=3),))
        with InferenceEndpointsLLM(
            base_url=endpoint.url, use_openai_client=use_openai_client
        ) as llm:
            assert isinstance(llm.generate([HELLO])[0][0], str)


def test_nothing_listens(use_openai_client: bool, unused_port: int) -> None:
    """Said at `load`, with host and port."""
    llm = InferenceEndpointsLLM(
        base_url=f"http://127.0.0.1:{unused_port}", use_openai_client=use_openai_client
    )
    with pytest.raises(RunError, match=f"127.0.0.1:{unused_port}"):
        llm.load()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, ["model_id", "endpoint_name", "base_url"]),
        ({"model_id": "a/b", "endpoint_name": "c"}, ["model_id", "endpoint_name"]),
        ({"endpoint_namespace": "x", "base_url": "http://localhost"}, ["endpoint_namespace"]),
        ({"base_url": "localhost:8080"}, ["base_url"]),
        ({"base_url": "http://user:pw@localhost"}, ["base_url", "api_key"]),
        ({"base_url": "https://api-inference.huggingface.co/models/x"}, ["base_url", "retired"]),
        ({"base_url": "http://example.com", "api_key": "secret-key"}, ["api_key", "https"]),
        ({"base_url": "http://localhost", "provider": "together"}, ["provider", "model_id"]),
        ({"base_url": "http://localhost", "max_concurrency": 0}, ["max_concurrency"]),
        ({"base_url": "http://localhost", "modle_id": 0}, ["modle_id"]),
        ({"base_url": "http://localhost", "generation_kwargs": {"top_q": 1}}, ["top_p"]),
    ],
)
def test_attributes_that_do_not_fit(given: dict[str, Any], named: list[str]) -> None:
    """A validation error that names the fields, and never shows a secret."""
    with pytest.raises(ConfigurationError) as caught:
        InferenceEndpointsLLM(**given)
    assert all(name in str(caught.value) for name in named)
    assert "secret-key" not in str(caught.value)


def test_an_extra_base_url_warns_once() -> None:
    """Beside a name, `base_url` is announced as overwritten."""
    with pytest.warns(UserWarning, match="base_url") as caught:
        InferenceEndpointsLLM(model_id="a/b", base_url="http://localhost", api_key="hf_x")
    assert len(caught) == 1


def test_key_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    """`api_key` wins over `HF_TOKEN`, which is read when the object is made."""
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    found = InferenceEndpointsLLM(base_url="http://localhost").api_key
    assert found is not None
    assert found.get_secret_value() == "hf_environment"
    given = InferenceEndpointsLLM(base_url="http://localhost", api_key="hf_given").api_key
    assert given is not None
    assert given.get_secret_value() == "hf_given"


def test_model_name() -> None:
    """The display name, else what was named."""
    named = InferenceEndpointsLLM(base_url="http://localhost", model_display_name="mine")
    assert named.model_name == "mine"
    assert InferenceEndpointsLLM(base_url="http://localhost:1").model_name == "http://localhost:1"
    assert InferenceEndpointsLLM(model_id="a/b").model_name == "a/b"


def test_secrets_stay_out(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Not in repr, str, dumps, files, copies of state or pickles, before and after loading."""
    endpoint = simulated_endpoint()
    llm = InferenceEndpointsLLM(base_url=endpoint.url, api_key=CANARY, headers={"x-key": CANARY})
    for _ in range(2):
        llm.save(tmp_path / "llm.json")
        llm.save(tmp_path / "llm.yaml")
        shown = [
            repr(llm),
            str(llm),
            json.dumps(llm.dump()),
            (tmp_path / "llm.json").read_text(),
            (tmp_path / "llm.yaml").read_text(),
            pickle.dumps(llm).decode("latin-1"),
            repr(vars(llm)),
        ]
        assert not [text for text in shown if CANARY in text]
        llm.load()
    llm.close()


def test_round_trips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON, YAML, dict and pickle give the same object, its key read anew."""
    monkeypatch.setenv("HF_TOKEN", "hf_again")
    llm = InferenceEndpointsLLM(
        base_url="http://localhost:8080",
        generation_kwargs={"temperature": 0.5},
        structured_output={"format": "choice", "schema": ["a", "b"]},
        max_concurrency=3,
    )
    llm.save(tmp_path / "llm.json")
    llm.save(tmp_path / "llm.yaml")
    others = [
        InferenceEndpointsLLM.from_file(tmp_path / "llm.json"),
        InferenceEndpointsLLM.from_file(tmp_path / "llm.yaml"),
        InferenceEndpointsLLM.from_dict(llm.dump()),
        pickle.loads(pickle.dumps(llm)),
        copy.deepcopy(llm),
    ]
    for other in others:
        assert other.dump() == llm.dump()
        assert other.api_key is not None
        assert other.api_key.get_secret_value() == "hf_again"


@pytest.mark.parametrize(
    "module",
    [
        "distilabel_endpoints",
        "distilabel_endpoints.llms",
        "distilabel.llms",
        "distilabel.llms.huggingface",
        "distilabel.models",
        "distilabel.models.llms",
        "distilabel.models.llms.huggingface",
    ],
)
def test_the_class_has_the_names_of_all_versions(module: str) -> None:
    """Every documented import path gives the same class."""
    import importlib

    assert importlib.import_module(module).InferenceEndpointsLLM is InferenceEndpointsLLM


def test_closing_is_idempotent_and_reopens(simulated_endpoint: Make) -> None:
    """After `close`, generating loads again; no thread is left behind."""
    endpoint = simulated_endpoint()
    before = set(threading.enumerate())
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    for _ in range(2):
        assert llm.generate([HELLO])[0][0]
        llm.close()
        llm.close()
    assert set(threading.enumerate()) == before
