"""The values that go into pipelines and come out of them; the pipelines are in tests/pipeline/."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints.errors import ConversationError, InstallationError, ParameterError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.outputs import Output, output_of, refused_row
from distilabel_endpoints.pipeline import upstream
from distilabel_endpoints.pipeline.answering import Answering
from distilabel_endpoints.pipeline.generation_kwargs import fitting, renamed, spelled_out
from distilabel_endpoints.pipeline.progress import BatchProgress
from distilabel_endpoints.pipeline.results import generate_outputs
from distilabel_endpoints.records import (
    Completion,
    Failure,
    FailureKind,
    Result,
    Route,
    Server,
    Usage,
)
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
HELLO = [{"role": "user", "content": "Hello world!"}]
FAILURE = Failure(kind=FailureKind.ROW, message="refused", status=422)
CHAT = {"accepted": ("max_new_tokens", "temperature", "do_sample", "stop_sequences")}


def output(*texts: str | None, usages: tuple[Usage, ...] = (), **more: Any) -> Output:
    """What a row came to; `None` is a generation that failed."""
    return output_of(
        Result(
            ordinal=0,
            completions=tuple(Completion(text=t, **more) if t else None for t in texts),
            failures=tuple(None if text else FAILURE for text in texts),
            usages=usages,
        )
    )


class Lines(logging.Handler):
    """Keeps what is logged, and says when the first line has come."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.came = threading.Event()
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.came.set()


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.none() | st.integers(0, 99), st.none() | st.integers(0, 99)), max_size=8),
)
def test_tokens_are_one_entry_a_generation(count: int, requests: list[Any]) -> None:
    """However many requests a row took: as many entries as generations, and the sum is right."""
    row = output(*["x"] * count, usages=tuple(Usage(*one) for one in requests))
    (made,) = generate_outputs([row])
    for place, name in enumerate(("input_tokens", "output_tokens")):
        values = made["statistics"][name]
        assert len(values) == count
        assert all(type(value) is int for value in values)
        assert sum(values) == sum(one[place] or 0 for one in requests)


def test_rows_have_the_same_keys_whatever_became_of_them() -> None:
    """Upstream's tasks merge the statistics of several rows, and its files have one type each."""
    rows = [output("a", "b"), output("a", None), output(None, None, usages=())]
    made = generate_outputs(rows)
    assert len({tuple(one) for one in made}) == 1
    assert len({tuple(one["statistics"]) for one in made}) == 1
    assert [one["statistics"]["error"] for one in made] == [
        ["", ""],
        ["", "row 422: refused"],
        ["row 422: refused"] * 2,
    ]


def test_extras_are_in_all_rows_or_in_none() -> None:
    """A column that only some rows have would be lost with the first one that has not."""
    rows = [output(None), output("a", reasoning="because", tool_calls=({"name": "f"},))]
    first, second = generate_outputs(rows)
    assert (first["reasoning"], second["reasoning"]) == ([None], ["because"])
    assert (first["tool_calls"], second["tool_calls"]) == ([None], ['[{"name": "f"}]'])
    assert "reasoning" not in generate_outputs([rows[0]])[0]


def test_logprobs_in_upstreams_form() -> None:
    """The likeliest tokens at each place."""
    places = [
        {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "a", "logprob": -1.0}]},
        {"token": "b", "logprob": -2.0, "top_logprobs": None},
    ]
    (made,) = generate_outputs([output("ab", logprobs=places)])
    assert made["logprobs"] == [[[{"token": "a", "logprob": -1.0}], []]]


def test_what_cannot_be_sent_is_left_out_with_a_note() -> None:
    """What is left is what the route takes."""
    given_ = {"max_new_tokens": 5, "top_k": 3, "watermark": True, "seed": None}
    kept, notes = fitting(given_, **CHAT, route=Route.HUB_CHAT, server=Server.TGI)
    assert kept == {"max_new_tokens": 5}
    assert [note.split()[0] for note in notes] == ["'top_k'", "'watermark'"]


@pytest.mark.parametrize(
    ("parameters", "kept", "said"),
    [
        ({"do_sample": False, "temperature": 0.7}, {"temperature": 0.7}, "do_sample"),
        ({"do_sample": False}, {"do_sample": False}, None),
        ({"do_sample": False, "temperature": 0}, {"do_sample": False, "temperature": 0}, None),
        ({"stop_sequences": [*"abcdef"]}, {"stop_sequences": [*"abcd"]}, "first 4"),
        ({"stop_sequences": [*"abcd"]}, {"stop_sequences": [*"abcd"]}, None),
    ],
)
def test_what_is_changed_to_be_sent(
    parameters: dict[str, Any], kept: dict[str, Any], said: str | None
) -> None:
    """As upstream's class does it, with a note."""
    fit, notes = fitting(parameters, **CHAT, route=Route.HUB_CHAT, server=Server.TGI)
    assert fit == kept
    assert ([said] if said else []) == [said for note in notes if said and said in note]
    assert len(notes) == bool(said)


def test_only_tgi_has_a_limit_of_stop_sequences() -> None:
    """Elsewhere all of them are sent."""
    parameters = {"stop_sequences": [*"abcdef"]}
    fit, notes = fitting(parameters, **CHAT, route=Route.HUB_CHAT, server=Server.VLLM)
    assert (fit, notes) == (parameters, [])


def test_upstreams_name_for_log_probabilities() -> None:
    """`top_n_tokens` is `top_logprobs` here, and asks for them."""
    assert renamed({"top_n_tokens": 3, "seed": 1}) == {
        "logprobs": True,
        "top_logprobs": 3,
        "seed": 1,
    }
    assert renamed({"top_n_tokens": None, "logprobs": None}) == {}


def test_a_signature_spells_out_its_parameters() -> None:
    """None of them has to be given, and what the method has already is not listed twice."""

    def agenerate(input: Any, seed: int = 1, **kwargs: Any) -> None:  # noqa: A002
        """As a subclass may have it."""

    listed = spelled_out(inspect.signature(agenerate).parameters.values())
    names = [one.name for one in listed]
    assert names[:2] == ["input", "seed"]
    assert "kwargs" not in names
    assert {"max_new_tokens", "temperature", "top_n_tokens"} <= set(names)
    assert len(names) == len(set(names))
    assert all(one.default is not inspect.Parameter.empty for one in listed[1:])


@pytest.fixture
def log() -> Lines:
    """What the simulated model's LLM logs in a pipeline."""
    return Lines(logging.getLogger("distilabel.llm.simulated-model"))


def answering(endpoint: SimulatedEndpoint, **attributes: Any) -> Answering:
    """Ours, for an endpoint, as upstream's would make it."""
    return Answering(lambda kind: kind(base_url=endpoint.url, **attributes), lambda given_: given_)


def test_rows_that_cannot_be_sent_do_not_keep_others_from_it(
    simulated_endpoint: Make, log: Lines
) -> None:
    """Each has an output at its place and a line in the log; wrong parameters are raised."""
    endpoint = simulated_endpoint(flavor="tgi", faults=(Fault(Respond(422), marker="bad"),))
    mine = answering(endpoint)
    bad = [{"role": "user", "content": "bad"}]
    outputs = mine.generate([HELLO, [{"role": "king"}], bad, "a prompt", HELLO], 1, {})
    assert [one["generations"][0] is None for one in outputs] == [False, True, True, False, False]
    assert [line.split(" has")[0] for line in sorted(log.lines)] == [
        "Row 2 of the batch",
        "Row 3 of the batch",
    ]
    assert {record.path for record in endpoint.generations} == {"/v1/chat/completions", "/"}
    with pytest.raises(ParameterError):
        mine.generate([HELLO], 1, {"temperature": "warm"})
    mine.close()


def test_what_is_said_once_is_said_once(simulated_endpoint: Make, log: Lines) -> None:
    """Python's warnings and what is dropped, in the log, however many batches there are."""
    endpoint = simulated_endpoint(flavor="openai")
    mine = answering(endpoint, structured_output={"format": "choice", "schema": ["yes", "no"]})
    for _ in range(3):
        mine.generate([HELLO], 1, {"watermark": True})
    said = [line for line in log.lines if not line.startswith("Row ")]
    assert len(said) == 2
    assert any("'watermark' is dropped" in line for line in said)
    assert any("only checked" in line for line in said)
    mine.close()


async def one_of(mine: Answering, given_: Any) -> Output:
    """A single input."""
    return await mine.agenerate(given_, 1, {})


def test_one_input_that_is_wrong_is_an_error(simulated_endpoint: Make) -> None:
    """Awaited alone, there is no other row to spare."""
    mine = answering(simulated_endpoint(flavor="tgi"))
    assert asyncio.run(one_of(mine, HELLO))["generations"][0]
    with pytest.raises(ConversationError):
        asyncio.run(one_of(mine, [{"role": "king"}]))
    mine.close()


def test_a_long_batch_is_reported(simulated_endpoint: Make, log: Lines) -> None:
    """How many rows are done and failed, how fast, and how many requests are in flight."""
    llm = InferenceEndpointsLLM(base_url=simulated_endpoint(flavor="tgi").url)
    llm.load()
    logger = logging.getLogger("distilabel.llm.simulated-model")
    with BatchProgress(logger, 1234, llm.statistics, every=0.001) as progress:
        assert log.came.wait(30)
        progress.count(Result(ordinal=0, completions=(Completion(text="a"),), failures=(None,)))
        progress.count(refused_row(1, 1, ConversationError("no role")))
        line = progress.line()
    assert line.startswith("2 of the batch's 1,234 rows done, 1 failed, ")
    assert "rows/s, 0 in flight of " in line
    assert "Row 2 of the batch has no answer: row: no role" in log.lines
    llm.close()


@pytest.mark.parametrize(
    ("installed", "message"),
    [(None, "needs the distribution distilabel"), ("1.4.2", "1.4.2"), ("1.6.0", "1.6.0")],
)
def test_another_upstream_is_refused(
    monkeypatch: pytest.MonkeyPatch, installed: str | None, message: str
) -> None:
    """With the command that installs the right one."""
    monkeypatch.setattr(upstream, "_version", lambda: installed)
    with pytest.raises(InstallationError, match=message) as caught:
        upstream.require_upstream()
    assert 'pip install "distilabel-endpoints[pipeline]"' in str(caught.value)
    monkeypatch.setattr(upstream, "_version", lambda: "1.5.9")
    upstream.require_upstream()
