"""Every server, client and path: what goes over the wire, and what comes back.

The ids of the cases say server, client and path, as the rows of `docs/servers.md` do.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chat_tokenizer import make_tokenizer
from distilabel_endpoints.errors import ConfigurationError, ParameterError, RunError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.testing import AnswerRequest, Limits, RequestRecord, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
FLAVORS = ("tgi", "vllm", "sglang", "llamacpp", "openai")
MODEL = "acme/served-model"
HELLO = [{"role": "user", "content": "Hello world!"}]
RENDERED = "<|im_start|>user\nHello world!<|im_end|>\n<|im_start|>assistant\n"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class City(BaseModel, extra="forbid"):
    """What the answers must fit, as a model, a schema and its text."""

    name: str
    large: bool


SCHEMA = City.model_json_schema()
JSON_FORMS = {"model": City, "schema": SCHEMA, "text": json.dumps(SCHEMA)}
REGEX: dict[str, Any] = {"format": "regex", "schema": "[ab]{3}-[0-9]+"}
CHOICE: dict[str, Any] = {"format": "choice", "schema": ["yes", "no", "maybe so"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One server by one client on one path."""

    flavor: str
    openai: bool
    text: bool

    @property
    def name(self) -> str:
        return f"{self.flavor}-{self.route}"

    @property
    def route(self) -> str:
        return f"{'openai' if self.openai else 'hub'}_{'text' if self.text else 'chat'}"

    @property
    def works(self) -> bool:
        """Only TGI has the route that the default client's text generation needs."""
        return self.flavor == "tgi" or self.route != "hub_text"

    @property
    def own_route(self) -> bool:
        """TGI's own: other names, one level down."""
        return self.route == "hub_text"

    def constrains(self, format_: str) -> bool:
        """Whether the server can be made to obey a format on this path."""
        if self.flavor == "openai":
            return format_ == "json" and not self.text
        return self != TGI_COMPLETIONS


ALL = [
    Case(flavor=flavor, openai=openai, text=text)
    for flavor in FLAVORS
    for openai in (False, True)
    for text in (False, True)
]
WORKING = [case for case in ALL if case.works]
TGI_COMPLETIONS = Case(flavor="tgi", openai=True, text=True)
CHATS = [case for case in WORKING if not case.text]


def by_name(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenizer with a chat template."""
    return make_tokenizer(tmp_path_factory.mktemp("dialects") / "tokenizer")


@pytest.fixture
def opened(simulated_endpoint: Make, tokenizer: Path) -> Any:
    """A factory: a case's endpoint, and the LLM that talks to it."""

    @contextmanager
    def open_case(
        case: Case, told: dict[str, Any] | None = None, **attributes: Any
    ) -> Iterator[tuple[SimulatedEndpoint, InferenceEndpointsLLM]]:
        endpoint = simulated_endpoint(flavor=case.flavor, model=MODEL, **(told or {}))
        with InferenceEndpointsLLM(
            base_url=endpoint.url,
            use_openai_client=case.openai,
            tokenizer_id=str(tokenizer) if case.text else None,
            **attributes,
        ) as llm:
            yield endpoint, llm

    return open_case


def said(case: Case, record: RequestRecord) -> dict[str, Any]:
    """The parameters of a body, wherever the path keeps them."""
    found: dict[str, Any] = record.body["parameters"] if case.own_route else record.body
    return found


@by_name(WORKING)
def test_request(case: Case, opened: Any) -> None:
    """Path, model, conversation and common parameters arrive under the server's own names."""
    with opened(case) as (endpoint, llm):
        llm.generate(
            [HELLO],
            max_new_tokens=7,
            temperature=0.5,
            top_p=0.9,
            stop_sequences="END",
            seed=0,
            frequency_penalty=0.25,
        )
        (record,) = endpoint.generations
    body, parameters = record.body, said(case, record)
    expected_path = {"hub_text": "/", "openai_text": "/v1/completions"}
    assert record.path == expected_path.get(case.route, "/v1/chat/completions")
    if case.own_route:
        assert body["inputs"] == RENDERED
        assert parameters["max_new_tokens"] == 7
        assert parameters["details"] is True
    else:
        assert body["model"] == MODEL
        assert body["prompt" if case.text else "messages"] == (RENDERED if case.text else HELLO)
        assert parameters["max_tokens"] == 7
        assert "n" not in parameters
    assert parameters["temperature"] == 0.5
    assert parameters["top_p"] == 0.9
    assert parameters["stop"] == ["END"]
    assert parameters["seed"] == 0
    assert parameters["frequency_penalty"] == 0.25


@by_name([case for case in ALL if not case.works and case.flavor != "openai"])
def test_refused(case: Case, opened: Any) -> None:
    """A server without TGI's route: said at `load`, with the two ways out, and nothing sent."""
    with pytest.raises(ConfigurationError) as caught, opened(case):
        pass
    assert "use_openai_client=True" in str(caught.value)
    assert "leave tokenizer_id out" in str(caught.value)
    assert case.flavor in str(caught.value)


@by_name([Case(flavor="openai", openai=False, text=True)])
def test_refused_late(case: Case, opened: Any) -> None:
    """A server that does not say what it is: the first request shows it, and ends the run."""
    with opened(case) as (endpoint, llm):
        with pytest.raises(RunError) as caught:
            llm.generate([HELLO])
        assert len(endpoint.requests) > 0
    assert "use_openai_client=True" in str(caught.value)
    assert "leave tokenizer_id out" in str(caught.value)


NAMES = {"llamacpp": {"repetition_penalty": "repeat_penalty"}}


@by_name(WORKING)
@pytest.mark.parametrize("name", ["top_k", "repetition_penalty"])
def test_sampling(case: Case, name: str, opened: Any) -> None:
    """`top_k` and `repetition_penalty` under the server's name, or an error that says where."""
    taken = case.own_route or case.flavor != "tgi"
    with opened(case) as (endpoint, llm):
        if taken:
            llm.generate([HELLO], **{name: 5})
            found = said(case, endpoint.generations[0])
            assert found[NAMES.get(case.flavor, {}).get(name, name)] == 5
            return
        with pytest.raises(ParameterError) as caught:
            llm.generate([HELLO], **{name: 5})
        assert name in str(caught.value)
        assert case.route in str(caught.value)
        assert endpoint.generations == ()


@by_name(WORKING)
def test_choices(case: Case, opened: Any) -> None:
    """One request a row where the server has `n`; else topped up, and remembered for later."""
    with opened(case) as (endpoint, llm):
        inputs = [HELLO, [{"role": "user", "content": "Another"}]]
        for call in range(1, 3):
            rows = llm.generate(inputs, num_generations=4, seed=3)
            assert [len(row) for row in rows] == [4, 4]
            assert all(isinstance(text, str) for row in rows for text in row)
            assert all(len(set(row)) == 4 for row in rows)
            if case.flavor != "tgi":
                assert len(endpoint.generations) == 2 * call
                assert endpoint.generations[-1].body["n"] == 4
        if case.flavor == "tgi":
            assert len(endpoint.generations) == 16
            assert not [record for record in endpoint.generations[8:] if "n" in record.body]


@by_name(WORKING)
def test_seeds(case: Case, opened: Any) -> None:
    """Rows and generations have seeds of their own, the same in every run; 0 is a seed."""
    seen = []
    for _ in range(2):
        with opened(case) as (endpoint, llm):
            rows = llm.generate([HELLO] * 3, num_generations=2, seed=0)
            asked = [
                said(case, record)["seed"] + more
                for record in endpoint.generations
                for more in range(record.body.get("n", 1) if case.flavor != "tgi" else 1)
            ]
            assert sorted(asked) == [0, 1, 2, 3, 4, 5]
            seen.append(rows)
    assert seen[0] == seen[1]
    assert len({text for row in seen[0] for text in row}) == 6


def _fits(format_: str, text: str) -> bool:
    match format_:
        case "json":
            return set(json.loads(text)) == {"name", "large"}
        case "regex":
            return re.fullmatch(REGEX["schema"], text) is not None
        case _:
            return text in CHOICE["schema"]


def _check_structured(case: Case, opened: Any, format_: str, wanted: dict[str, Any]) -> None:
    """Answers fit; where the server cannot be told, one warning, and the misfits are failures."""
    with (
        opened(case, structured_output=wanted) as (_, llm),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        outputs = llm.generate_outputs([HELLO] * 3, num_generations=2, seed=1)
    texts = [text for output in outputs for text in output["generations"]]
    errors = [error for output in outputs for error in output["errors"]]
    assert len(texts) == 6
    if case.constrains(format_):
        assert not caught
        assert errors == [None] * 6
        assert all(_fits(format_, text) for text in texts)
        return
    (warning,) = caught
    assert warning.category is UserWarning
    assert f"'{format_}'" in str(warning.message)
    assert texts == [None] * 6
    assert {error.failure.code for error in errors} == {"off_schema"}
    assert all(error.failure.text for error in errors)


@by_name(WORKING)
@pytest.mark.parametrize("form", JSON_FORMS)
def test_json(case: Case, form: str, opened: Any) -> None:
    """A schema as a mapping, as text and as a pydantic model."""
    _check_structured(case, opened, "json", {"format": "json", "schema": JSON_FORMS[form]})


@by_name(WORKING)
def test_regex(case: Case, opened: Any) -> None:
    """A pattern."""
    _check_structured(case, opened, "regex", REGEX)


@by_name(WORKING)
def test_choice(case: Case, opened: Any) -> None:
    """One of some texts."""
    _check_structured(case, opened, "choice", CHOICE)


@by_name(WORKING)
def test_each_its_own(case: Case, opened: Any) -> None:
    """Inputs of one call with different structured outputs, and one with none."""
    with opened(case) as (_, llm):
        wanted = [{"format": "json", "schema": SCHEMA}, REGEX, CHOICE]
        kept = [form for form in wanted if case.constrains(str(form["format"]))]
        inputs: list[Any] = [HELLO, *((HELLO, form) for form in kept)]
        free, *held = llm.generate(inputs)
    assert isinstance(free[0], str)
    for form, (text,) in zip(kept, held, strict=True):
        assert _fits(str(form["format"]), text)


@by_name([case for case in WORKING if not case.constrains("regex")])
@pytest.mark.parametrize(("retries", "expected"), [(1, None), (2, "aba-1")])
def test_retries(case: Case, retries: int, expected: str | None, opened: Any) -> None:
    """`structured_output_retries` asks that many times more, with another seed each time."""
    requests: list[AnswerRequest] = []

    def reply(request: AnswerRequest) -> str:
        requests.append(request)
        return "aba-1" if len(requests) == 3 else "off"

    told = {"reply": reply}
    with opened(case, told=told, structured_output_retries=retries) as (endpoint, llm):
        with pytest.warns(UserWarning, match="regex"):
            (output,) = llm.generate_outputs([(HELLO, REGEX)], seed=5)
        seeds = [said(case, record)["seed"] for record in endpoint.generations]
    assert output["generations"] == [expected]
    assert len(set(seeds)) == len(seeds) == retries + 1
    assert len(output["statistics"]["output_tokens"]) == retries + 1


LONG = " ".join(f"word{n}" for n in range(12))


def most(case: Case, record: RequestRecord) -> int:
    """The longest answer that was asked for."""
    names = {"max_tokens", "max_new_tokens", "max_completion_tokens"}
    (found,) = (value for name, value in said(case, record).items() if name in names)
    return int(found)


@by_name(WORKING)
@pytest.mark.parametrize(
    ("factor", "words", "ends"), [("1.5", 12, "stop"), ("1.25", 10, "length"), ("1000", 12, "stop")]
)
def test_growth(case: Case, factor: str, words: int, ends: str, opened: Any) -> None:
    """An answer that was cut off is asked for once more, longer; both are paid for and counted."""
    told = {"reply": lambda _: LONG}
    with opened(case, told=told, on_length=f"grow:{factor}x") as (endpoint, llm):
        (output,) = llm.generate_outputs([HELLO], max_new_tokens=8, seed=5)
        first, second = endpoint.generations
        (whole,) = llm.generate_outputs([HELLO], max_new_tokens=12, seed=5)
    assert output["generations"] == [" ".join(LONG.split()[:words])]
    assert output["finish_reasons"] == [ends]
    assert output["statistics"]["output_tokens"] == [8, words]
    assert (most(case, first), most(case, second)) == (8, int(8 * float(factor)))
    assert said(case, first)["seed"] == said(case, second)["seed"]
    assert bool(second.body.get("stream")) == (factor == "1000")
    assert whole["generations"] == [LONG]
    assert len(endpoint.generations) == 3


@by_name(WORKING)
def test_growth_of_some(case: Case, opened: Any) -> None:
    """Of several answers, only those are asked for again that were cut off."""
    told = {"reply": lambda request: "short" if request.seed + request.index == 6 else LONG}
    with opened(case, told=told, on_length="grow:2x") as (endpoint, llm):
        (output,) = llm.generate_outputs([HELLO], num_generations=3, max_new_tokens=8, seed=5)
    assert output["generations"] in ([LONG, "short", LONG], [LONG, "short", "short"])
    again = [record for record in endpoint.generations if most(case, record) == 16]
    assert sum(record.body.get("n", 1) for record in again) == 2


@by_name(WORKING)
def test_growth_beyond_the_context(case: Case, opened: Any) -> None:
    """Where the second try is refused, what there is stays."""
    told = {"reply": lambda _: LONG, "limits": Limits(context_tokens=40)}
    with opened(case, told=told, on_length="grow:100x") as (endpoint, llm):
        (output,) = llm.generate_outputs([HELLO], max_new_tokens=8)
    assert output["generations"] == [" ".join(LONG.split()[:8])]
    assert output["errors"] == [None]
    assert [record.status for record in endpoint.generations] == [200, endpoint_refuses(case)]


def endpoint_refuses(case: Case) -> int:
    """How a server refuses what is too long."""
    return 422 if case.flavor == "tgi" else 400


@by_name([case for case in WORKING if case.constrains("json")])
def test_growth_to_what_fits(case: Case, opened: Any) -> None:
    """A structured output that was cut off is one when it comes whole."""
    told = {"reply": lambda _: json.dumps({"name": "a b c d e f g", "large": True})}
    wanted = {"format": "json", "schema": SCHEMA}
    with opened(case, told=told, on_length="grow:9x") as (endpoint, llm):
        (output,) = llm.generate_outputs([(HELLO, wanted)], max_new_tokens=3)
    assert output["errors"] == [None]
    assert json.loads(output["generations"][0])["name"] == "a b c d e f g"
    assert len(endpoint.generations) == 2


@pytest.mark.parametrize("given", ["", "grow", "grow:", "grow:2", "grow:x", "grow:1x", "grow:0.9x"])
def test_no_growth(given: str) -> None:
    """What is not a factor over 1 is refused, with what there is."""
    with pytest.raises(ConfigurationError, match="'keep', 'fail', or 'grow:2x'"):
        InferenceEndpointsLLM(base_url="http://127.0.0.1:1", on_length=given)


@by_name([case for case in WORKING if case.constrains("json") and not case.text])
def test_twice(case: Case, opened: Any) -> None:
    """A constraint given beside another in the same words is an error, not overwritten."""
    with opened(case) as (endpoint, llm):
        llm.generate([(HELLO, {"format": "json", "schema": SCHEMA})])
        sent = endpoint.generations[0].body
        (key,) = {"response_format", "json_schema"} & set(sent)
        with pytest.raises(ParameterError, match=key):
            llm.generate(
                [(HELLO, {"format": "json", "schema": SCHEMA})], extra_body={key: sent[key]}
            )
        assert len(endpoint.generations) == 1


@by_name(WORKING)
@pytest.mark.parametrize("n", [1, 2])
def test_stream(case: Case, n: int, opened: Any) -> None:
    """Read as a stream, the same output comes; every answer is read to its end."""
    asked: dict[str, Any] = {"seed": 2, "max_new_tokens": 6}
    if case != TGI_COMPLETIONS:
        asked |= {"logprobs": True, "top_logprobs": 2}
    told = {"reasoning": not case.text}
    found = []
    for stream in (False, True):
        with opened(case, told=told, stream=stream) as (endpoint, llm):
            found.append(llm.generate_outputs([HELLO] * 2, num_generations=n, **asked))
            if not case.text:
                found[-1] += llm.generate_outputs([HELLO], tools=[TOOL])
            endpoint.wait_for(lambda e: e.in_flight == 0)  # of a stream, it knows after the client
            assert endpoint.statistics().aborted == 0
            assert {record.body.get("stream", False) for record in endpoint.generations} == {stream}
    assert found[0] == found[1]
    assert all(counted for row in found[1] for counted in row["statistics"]["output_tokens"])
    assert all(counted for row in found[1] for counted in row["statistics"]["input_tokens"])


@by_name([TGI_COMPLETIONS])
@pytest.mark.parametrize("name", ["logprobs", "presence_penalty", "return_full_text"])
def test_ignored(case: Case, name: str, opened: Any) -> None:
    """What TGI's completions API would leave out in silence is an error that names the way."""
    with opened(case) as (endpoint, llm):
        with pytest.raises(ParameterError, match=name):
            llm.generate([HELLO], **{name: 1.0 if name == "presence_penalty" else True})
        assert endpoint.generations == ()


@by_name([case for case in WORKING if case != TGI_COMPLETIONS])
def test_logprobs(case: Case, opened: Any) -> None:
    """One entry per token, each with its alternatives, in one form on every path."""
    with opened(case) as (_, llm):
        (plain,) = llm.generate_outputs([HELLO])
        (output,) = llm.generate_outputs([HELLO], logprobs=True, top_logprobs=3)
    assert "logprobs" not in plain
    (tokens,) = output["logprobs"]
    assert len(tokens) == output["statistics"]["output_tokens"][0]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 3 for token in tokens)
    assert "".join(token["token"] for token in tokens) == output["generations"][0]


@by_name(CHATS)
def test_tools(case: Case, opened: Any) -> None:
    """A call comes back as OpenAI has it: arguments are JSON text, and there is no text."""
    with opened(case) as (endpoint, llm):
        (output,) = llm.generate_outputs([HELLO], tools=[TOOL], tool_choice="auto")
        assert endpoint.generations[0].body["tools"] == [TOOL]
        assert endpoint.generations[0].body["tool_choice"] == "auto"
    assert output["generations"] == [None]
    assert output["errors"] == [None]
    assert output["finish_reasons"] == ["tool_calls"]
    calls = output["tool_calls"][0]
    assert calls is not None
    assert calls[0]["function"]["name"] == "weather"
    assert json.loads(calls[0]["function"]["arguments"])["city"] in {"Paris", "Rome"}


@by_name(CHATS)
def test_reasoning(case: Case, opened: Any) -> None:
    """What the model thought stands beside the text, not in it."""
    with opened(case, told={"reasoning": True}) as (_, llm):
        (output,) = llm.generate_outputs([HELLO])
    assert output["reasoning"] == ["Thinking about answer 0."]
    assert "Thinking" not in str(output["generations"][0])


@by_name(CHATS)
def test_images(case: Case, opened: Any) -> None:
    """A message with an image arrives as it was given."""
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    given = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}]
    with opened(case) as (endpoint, llm):
        assert llm.generate([given])[0][0]
        assert endpoint.generations[0].body["messages"] == given
