"""Parameters that a server refuses: read from its error, learned once, and sent in another form."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients.adapting import AdaptingClient, refused_parameter
from distilabel_endpoints.records import Answer, Completion, Failure, FailureKind, Request
from distilabel_endpoints.testing import Fault, Rewrite, SimulatedEndpoint

Start = Callable[..., SimulatedEndpoint]
HELLO = [{"role": "user", "content": "Hello world!"}]
SENT = Request(
    ordinal=0,
    messages=HELLO,
    options={"max_tokens": 64, "temperature": 0.0, "extra_body": {"top_k": 5}},
    stream=True,
)
FORBIDDEN = "Extra inputs are not permitted"


@pytest.fixture(params=[False, True], ids=["hub", "openai"])
def use_openai_client(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize(
    ("error", "parameter"),
    [
        # OpenAI and Azure, newer and older; GitHub Copilot's without `param`
        ({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this "
                    "model. Use 'max_completion_tokens' instead.", "param": "max_tokens",
                    "code": "unsupported_parameter"}}, "max_tokens"),
        ({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this "
                    "model. Use 'max_completion_tokens' instead.",
                    "code": "invalid_request_body"}}, "max_tokens"),
        ({"error": {"message": "Unrecognized request argument supplied: stream_options"}},
         "stream_options"),
        ({"error": {"message": "Unsupported value: 'temperature' does not support 0 with this "
                    "model.", "param": "temperature", "code": "unsupported_value"}}, "temperature"),
        # Mistral
        ({"object": "error", "message": {"detail": [{"type": "extra_forbidden", "msg": FORBIDDEN,
          "loc": ["body", "stream_options"], "input": {}}]}}, "stream_options"),
        # Azure AI, Databricks, Groq, LiteLLM
        ({"error": {"code": "extra_forbidden", "message": "Validation error at "
                    f"#/stream_options: {FORBIDDEN}"}}, "stream_options"),
        ({"error_code": "BAD_REQUEST", "message": 'Bad request: json: unknown field '
          '"stream_options"\n'}, "stream_options"),
        ({"error": {"message": "property 'top_k' is unsupported"}}, "top_k"),
        ({"error": {"message": "litellm.UnsupportedParamsError: openai does not support "
                    "parameters: ['max_tokens'], for model=o1"}}, "max_tokens"),
        # transformers serve, and others in such words
        ({"detail": "Unexpected fields in the request: {'top_k'}"}, "top_k"),
        ({"error": {"message": "unexpected parameter: top_k"}}, "top_k"),
        ({"message": "max_tokens is deprecated, use max_completion_tokens"}, "max_tokens"),
        # Whatever is said of an option whose value is always the same
        ({"error": {"message": "Invalid parameter: stream_options"}}, "stream_options"),
        ({"error": {"message": "Bad value", "param": "stream_options"}}, "stream_options"),
        ({"error": {"message": "include_usage is not supported"}}, "stream_options"),
        ({"message": "不支持的参数: stream_options"}, "stream_options"),
        ({"error": {"message": "unknown field `top_k`, expected one of `n`, `stream_options`"}},
         "top_k"),
        # A wrong value, a message's key, a parameter that was not sent, no JSON
        ({"error": {"message": "max_tokens is too large: 5000. This model supports at most 4096 "
                    "completion tokens.", "param": "max_tokens"}}, None),
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 0, "user", "name"],
          "msg": FORBIDDEN}]}, None),
        ({"error": {"message": "Unknown parameter: 'reasoning'.", "param": "reasoning"}}, None),
        ([["max_tokens"]], None),
    ],
)  # fmt: skip
def test_the_parameter_that_is_refused(error: Any, parameter: str | None) -> None:
    """Every server says it in its own words; only what was sent can be meant."""
    assert refused_parameter(json.dumps(error).encode(), SENT) == parameter


@pytest.mark.parametrize(
    "message",
    [
        # Fireworks, Alibaba twice, others
        "Requests with max_tokens > 4096 must have stream=true",
        "This model only support stream mode, please enable the stream parameter.",
        "parameter.enable_thinking must be set to false for non-streaming calls",
        "Non-streaming is not supported for this model",
        "Streaming is required for this model",
        "Stream must be set to true",
    ],
)
def test_a_server_that_answers_in_streams_only(message: str) -> None:
    """It is known by its words, unless a stream was asked for: then they mean something else."""
    body = json.dumps({"error": {"message": message}}).encode()
    assert refused_parameter(body, replace(SENT, stream=False)) == "stream=false"
    assert refused_parameter(body, SENT) is None


@pytest.mark.anyio
async def test_answers_are_asked_for_as_streams_where_others_are_refused() -> None:
    """Once learned, every request is a stream from the start."""

    class StreamsOnly(Picky):
        async def complete(self, request: Request) -> Answer | Failure:
            if request.stream:
                return await super().complete(request)
            self.seen.append(request)
            kind = FailureKind.ROW
            return Failure(kind=kind, message="no", status=400, parameter="stream=false")

    picky = StreamsOnly()
    client = AdaptingClient(picky, "http://h")
    for _ in range(3):
        assert isinstance(await client.complete(replace(SENT, stream=False)), Answer)
    assert [request.stream for request in picky.seen] == [False, True, True, True]


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "'n' : number must be at most 1"}},
        {"error": {"message": "Only n=1 is supported"}},
        {"detail": [{"loc": ["body", "n"], "msg": "Input should be less than or equal to 1"}]},
        {"error": {"message": "multiple choices are not supported"}},
        # llama.cpp, Gemini, LiteLLM, DeepSeek, an MLX server, gateways
        {"error": {"message": "Only one completion choice is allowed"}},
        {"error": {"message": "Multiple candidates is not enabled for this model"}},
        {"error": {"message": "UnsupportedParamsError: anthropic does not support parameters: "
                   "['n'], for model=m"}},
        {"error": {"message": "Invalid n value (currently only n = 1 is supported)"}},
        {"detail": "n must equal 1 (multi-choice is not supported)"},
        {"error": {"message": "n > 1 is not supported"}},
        {"error": {"message": "n=2 is not supported by this model"}},
        {"error": {"message": "Unsupported parameter", "param": "n"}},
    ],
)  # fmt: skip
def test_a_server_that_gives_one_answer_to_a_request(error: Any) -> None:
    """It is known by its words when several were asked for."""
    body = json.dumps(error).encode()
    assert refused_parameter(body, replace(SENT, n=2)) == "n"
    assert refused_parameter(body, SENT) is None


@pytest.mark.parametrize(
    "message",
    [
        "maximum context length is 2048 tokens; you requested 3000 (n = 3)",
        "matrix of n by n does not fit",
        "the message ends in 'I don't know' n times",
        "top_n is not supported",
    ],
)
def test_a_letter_is_not_the_number_of_answers(message: str) -> None:
    """An n among other words refuses nothing."""
    body = json.dumps({"error": {"message": message}}).encode()
    assert refused_parameter(body, replace(SENT, n=2)) is None


def test_a_body_that_says_nothing() -> None:
    """Nothing, a page, or text: no parameter."""
    for body in (b"", b"<html>not supported: max_tokens", b"\xff", b"[" * 2000):
        assert refused_parameter(body, SENT) in {None, "max_tokens"}


class Picky:
    """Refuses some parameters, counts the rest."""

    def __init__(self, *refuses: str) -> None:
        self.refuses = refuses
        self.seen: list[Request] = []

    async def complete(self, request: Request) -> Answer | Failure:
        self.seen.append(request)
        sent = {*request.options, *request.options.get("extra_body", ())}
        sent |= {"stream"} if request.stream else set()
        sent |= {"stream_options"} if request.stream and request.counts_stream else set()
        for name in self.refuses:
            if name in sent:
                return Failure(kind=FailureKind.ROW, message="no", status=400, parameter=name)
        return Answer(completions=(Completion(text="ok"),))

    async def aclose(self) -> None:
        pass


@pytest.mark.anyio
async def test_what_was_learned_is_kept() -> None:
    """One more request for each refused parameter, once; then all go out as the server takes."""
    picky = Picky("max_tokens", "stream_options")
    client = AdaptingClient(picky, "http://h")
    for _ in range(3):
        assert isinstance(await client.complete(SENT), Answer)
    assert len(picky.seen) == 5
    last = picky.seen[-1]
    assert last.options["extra_body"] == {"top_k": 5, "max_completion_tokens": 64}
    assert "max_tokens" not in last.options
    assert (last.stream, last.counts_stream) == (True, False)


@pytest.mark.parametrize("refused", ["temperature", "top_k"])
@pytest.mark.anyio
async def test_what_means_something_is_not_left_out(refused: str) -> None:
    """A parameter that changes the answer stays refused: the failure is given back."""
    picky = Picky(refused)
    outcome = await AdaptingClient(picky, "http://h").complete(SENT)
    assert isinstance(outcome, Failure)
    assert len(picky.seen) == 1


@pytest.mark.anyio
async def test_a_server_that_refuses_everything_ends() -> None:
    """Also if it still refuses what is no longer sent."""

    class Stubborn(Picky):
        async def complete(self, request: Request) -> Answer | Failure:
            self.seen.append(request)
            return Failure(kind=FailureKind.ROW, message="no", parameter="max_tokens")

    stubborn = Stubborn()
    assert isinstance(await AdaptingClient(stubborn, "http://h").complete(SENT), Failure)
    assert len(stubborn.seen) == 2


@pytest.mark.parametrize("flavor", ["openai", "vllm", "tgi"])
def test_rows_of_a_model_with_newer_names(
    flavor: str,
    simulated_endpoint: Start,
    caplog: pytest.LogCaptureFixture,
    use_openai_client: bool,
) -> None:
    """All are answered within their limit, streamed or not; it is reported once."""
    endpoint = simulated_endpoint(
        flavor=flavor, refuses=("max_tokens", "stream_options"), reply=lambda _: "a " * 200
    )
    with InferenceEndpointsLLM(
        base_url=endpoint.url, use_openai_client=use_openai_client, stream=True
    ) as llm:
        outputs = llm.generate_outputs([HELLO] * 20, max_new_tokens=10)
        assert {output["finish_reasons"][0] for output in outputs} == {"length"}
        endpoint.clear_log()
        outputs = llm.generate_outputs([HELLO] * 5, max_new_tokens=10)
        assert all(output["generations"][0] for output in outputs)
    assert {record.body.get("max_completion_tokens") for record in endpoint.generations} == {10}
    assert len(endpoint.generations) == 5
    lines = [line for line in caplog.messages if "does not take" in line]
    assert len(lines) == 2


@pytest.mark.anyio
async def test_one_input_at_a_time(simulated_endpoint: Start, use_openai_client: bool) -> None:
    """`agenerate` learns for the next call."""
    endpoint = simulated_endpoint(refuses=("max_tokens",))
    llm = InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client)
    for _ in range(3):
        assert (await llm.agenerate(HELLO))[0]
    llm.close()
    assert len(endpoint.generations) == 4


def test_a_limit_given_under_its_newer_name(
    simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """In `extra_body` it is the only limit that is sent: ours would contradict it."""
    endpoint = simulated_endpoint(refuses=("max_tokens",), reply=lambda _: "a " * 200)
    with InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client) as llm:
        newer = {"max_completion_tokens": 7}
        for limit in (None, 7):
            (output,) = llm.generate_outputs([HELLO], extra_body=newer, max_new_tokens=limit)
            assert output["statistics"]["output_tokens"] == [7]
    assert endpoint.generations[0].body["max_completion_tokens"] == 7
    assert [("max_tokens" in record.body) for record in endpoint.generations] == [
        False, True, False,
    ]  # fmt: skip


def test_another_parameter_that_is_refused_is_an_error(
    simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """It changes the answers, so nothing is left out in silence."""
    endpoint = simulated_endpoint(refuses=("frequency_penalty",))
    with InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client) as llm:
        (output,) = llm.generate_outputs([HELLO], frequency_penalty=0.5)
    assert output["generations"] == [None]
    (error,) = output["errors"]
    assert error is not None
    assert error.failure.parameter == "frequency_penalty"


def test_what_a_stranger_ignores_is_reported_once(
    simulated_endpoint: Start, caplog: pytest.LogCaptureFixture, use_openai_client: bool
) -> None:
    """What an answer shows, and what no answer can show; a server that heeds it gets no word."""

    def without_logprobs(answer: Any) -> Any:
        for choice in answer["choices"]:
            choice["logprobs"] = None
            choice["message"]["content"] = "no JSON"
        return answer

    for fault in (Fault(Rewrite(without_logprobs)), None):
        endpoint = simulated_endpoint(faults=(fault,) if fault else ())
        caplog.clear()
        with InferenceEndpointsLLM(
            base_url=endpoint.url, use_openai_client=use_openai_client
        ) as llm:
            for _ in range(3):
                llm.generate(
                    [HELLO] * 3,
                    logprobs=True,
                    response_format={"type": "json_object"},
                    repetition_penalty=1.1,
                    max_new_tokens=1000,
                )
        lines = sorted(line.partition(" ")[2] for line in caplog.messages if "http" in line)
        unseen = "was not recognised; answers do not show whether it heeds repetition_penalty"
        assert lines == (
            [
                "ignores logprobs: answers are as without it",
                "ignores response_format: answers are as without it",
                unseen,
            ]
            if fault
            else [unseen]
        )


def test_a_known_server_is_trusted(
    simulated_endpoint: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """vLLM heeds what it takes."""
    endpoint = simulated_endpoint(flavor="vllm")
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        llm.generate([HELLO], repetition_penalty=1.1)
    assert not caplog.messages
