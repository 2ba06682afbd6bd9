"""Subclasses: what they override is obeyed whichever way a row comes in, or refused at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from pydantic import SecretStr, field_validator, model_validator

from distilabel_endpoints import InferenceEndpointsLLM, Output, generate_dataset
from distilabel_endpoints.errors import (
    ConfigurationError,
    ConversationError,
    CreditError,
    ParameterError,
    UserCodeError,
)
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.records import Answer, Client, Completion, Failure, Request
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


def say(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def flat(lists: list[list[Any]]) -> list[Any]:
    return [one for many in lists for one in many]


def asked(endpoint: SimulatedEndpoint) -> set[str]:
    return {record.body["messages"][-1]["content"] for record in endpoint.generations}


def run(llm: InferenceEndpointsLLM, rows: Any, output: Path, **more: Any) -> list[dict[str, Any]]:
    generate_dataset(llm, rows, output, progress=open_progress("quiet"), **more)
    return [json.loads(line) for line in output.read_text().splitlines()]


class Shouting(InferenceEndpointsLLM):
    """Changes what is sent and what comes back."""

    async def agenerate(
        self,
        input: Any,  # noqa: A002 - the documented name
        num_generations: int = 1,
        mark: str = "!",
        **parameters: Any,
    ) -> list[str | None]:
        loud = [{**message, "content": message["content"].upper()} for message in input]
        texts = await super().agenerate(loud, num_generations, **parameters)
        return [text and text + mark for text in texts]


class Labelled(InferenceEndpointsLLM):
    """The same by the richer method."""

    async def agenerate_output(
        self,
        input: Any,  # noqa: A002 - the documented name
        num_generations: int = 1,
        **parameters: Any,
    ) -> Output:
        loud = [{**message, "content": message["content"].upper()} for message in input]
        output = await super().agenerate_output(loud, num_generations, **parameters)
        texts = [text and text + "!" for text in output["generations"]]
        return {**output, "generations": texts}


async def awaited(llm: InferenceEndpointsLLM, way: str) -> list[str | None]:
    if way == "aiter_outputs":
        outputs = [one async for one in llm.aiter_outputs(say("a", "b"), 2, max_new_tokens=5)]
        return [text for one in outputs for text in one["generations"]]
    made = [await getattr(llm, way)(one, 2, max_new_tokens=5) for one in say("a", "b")]
    return [text for one in made for text in (one if way == "agenerate" else one["generations"])]


@pytest.mark.parametrize("kind", [Shouting, Labelled])
@pytest.mark.parametrize(
    "way",
    [
        "generate",
        "generate_outputs",
        "iter_outputs",
        "aiter_outputs",
        "agenerate",
        "agenerate_output",
        "map",
        "run",
    ],
)
def test_an_override_answers_every_row(
    simulated_endpoint: Make, tmp_path: Path, kind: type[InferenceEndpointsLLM], way: str
) -> None:
    """Whichever way rows come in, the subclass's method decides what is sent and returned."""
    endpoint = simulated_endpoint(flavor="vllm")
    with kind(base_url=endpoint.url) as llm:
        texts: list[Any]
        if way == "generate":
            texts = flat(llm.generate(say("a", "b"), 2, max_new_tokens=5))
        elif way in {"generate_outputs", "iter_outputs"}:
            made = getattr(llm, way)(say("a", "b"), 2, max_new_tokens=5)
            texts = [text for one in made for text in one["generations"]]
        elif way == "map":
            ask = llm.as_map_function(num_generations=2, max_new_tokens=5)
            columns = ask({"prompt": ["a", "b"]})
            assert columns["output_tokens"] == [10, 10]
            texts = flat(columns["generations"])
        elif way == "run":
            rows = run(
                llm,
                [{"prompt": "a"}, {"prompt": "b"}],
                tmp_path / "out.jsonl",
                num_generations=2,
                max_new_tokens=5,
            )
            assert [row["finish_reason"] for row in rows] == [["length", "length"]] * 2
            assert [row["output_tokens"] for row in rows] == [10, 10]
            texts = [text for row in rows for text in row["generations"]]
        else:
            texts = asyncio.run(awaited(llm, way))
    assert len(texts) == 4
    assert all(text.endswith("!") and not text.endswith("!!") for text in texts)
    assert asked(endpoint) == {"A", "B"}


def test_what_failed_keeps_its_reason(simulated_endpoint: Make) -> None:
    """A row that `super()` could not answer says why, though the override returns texts alone."""
    faults = (Fault(Respond(400, {"error": "odd words"}), marker="B"),)
    with Shouting(base_url=simulated_endpoint(flavor="vllm", faults=faults).url) as llm:
        good, bad = llm.generate_outputs(say("a", "b"))
    assert good["errors"] == [None]
    assert bad["errors"][0] is not None
    assert "odd words" in str(bad["errors"][0])


def test_each_row_has_its_own_seed(simulated_endpoint: Make) -> None:
    """A `seed` reaches an override as it would reach the row's request."""
    endpoint = simulated_endpoint(flavor="vllm")
    with Shouting(base_url=endpoint.url, generation_kwargs={"seed": 5}) as llm:
        llm.generate(say("a", "b", "c"))
    assert {record.body["seed"] for record in endpoint.generations} == {5, 6, 7}


def test_an_override_may_have_parameters(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Those that its signature adds are passed to it; others are refused before the start."""
    endpoint = simulated_endpoint(flavor="vllm")
    with Shouting(base_url=endpoint.url) as llm:
        (row,) = run(llm, [{"prompt": "a"}], tmp_path / "out.jsonl", mark="?")
        assert row["generation"].endswith("?")
        endpoint.clear_log()
        with pytest.raises(ParameterError, match="temprature"):
            llm.generate(say("a"), temprature=1)  # type: ignore[call-arg]
    assert not endpoint.generations


def test_an_error_for_all_rows_ends_the_call(simulated_endpoint: Make) -> None:
    """What no row can get past is raised through the override, as without one."""
    endpoint = simulated_endpoint(flavor="vllm", faults=(Fault(Respond(402)),))
    with Shouting(base_url=endpoint.url) as llm, pytest.raises(CreditError):
        llm.generate(say("a", "b"))


class Failing(InferenceEndpointsLLM):
    """Raises for one row, until it is told not to."""

    broken: bool = True

    async def agenerate(self, input: Any, *rest: Any, **parameters: Any) -> list[str | None]:  # noqa: A002
        if self.broken and input[0]["content"] == "b":
            raise ValueError("no idea")
        return await super().agenerate(input, *rest, **parameters)


def test_an_error_of_the_override_stops_the_run_resumably(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """The error names the method and the row; the same call finishes what is left."""
    endpoint = simulated_endpoint(flavor="vllm")
    rows = [{"prompt": "a"}, {"prompt": "b"}]
    with Failing(base_url=endpoint.url) as llm:
        with pytest.raises(
            UserCodeError, match=r"Failing.agenerate .*at row 2: ValueError"
        ) as caught:
            run(llm, rows, tmp_path / "out.jsonl")
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(UserCodeError) as caught:
            llm.generate(say("a", "b"))
        assert caught.value.index == 1
        llm.broken = False
        made = run(llm, rows, tmp_path / "out.jsonl")
    assert all(row["generation"] for row in made)


def test_a_wrong_return_value_is_explained(simulated_endpoint: Make) -> None:
    """A text in place of a list is the subclass's mistake, and said so."""

    class Text(InferenceEndpointsLLM):
        async def agenerate(self, *_: Any, **__: Any) -> Any:
            return "text"

    with (
        Text(base_url=simulated_endpoint(flavor="vllm").url) as llm,
        pytest.raises(UserCodeError, match=r"Text.agenerate .*a list of 1 texts"),
    ):
        llm.generate(say("a"))


def test_a_row_that_the_override_makes_unusable_fails_alone(simulated_endpoint: Make) -> None:
    """Messages that cannot be sent are that row's failure."""

    class Picky(InferenceEndpointsLLM):
        async def agenerate(self, input: Any, *rest: Any, **parameters: Any) -> Any:  # noqa: A002
            if input[0]["content"] == "b":
                raise ConversationError("not this one")
            return await super().agenerate(input, *rest, **parameters)

    with Picky(base_url=simulated_endpoint(flavor="vllm").url) as llm:
        good, bad = llm.generate(say("a", "b"))
    assert good[0]
    assert bad == [None]


def test_a_blocking_call_inside_an_override_is_refused(simulated_endpoint: Make) -> None:
    """It would wait for itself for ever."""

    class Blocking(InferenceEndpointsLLM):
        async def agenerate(self, input: Any, *_: Any, **__: Any) -> Any:  # noqa: A002
            return self.generate([input])[0]

    with (
        Blocking(base_url=simulated_endpoint(flavor="vllm").url) as llm,
        pytest.raises(UserCodeError, match="Await agenerate"),
    ):
        llm.generate(say("a"))


@pytest.mark.parametrize("name", ["generate", "generate_outputs", "iter_outputs", "aiter_outputs"])
@pytest.mark.parametrize("mixed_in", [False, True])
def test_an_override_that_runs_would_ignore_is_refused(name: str, mixed_in: bool) -> None:
    """The class cannot be made, and the message names what to override instead."""

    def override(self: Any, *_: Any, **__: Any) -> Any:
        return self

    mixin = (type("Mixin", (), {name: override}),) if mixed_in else ()
    body = {} if mixed_in else {name: override}
    with pytest.raises(ConfigurationError, match=rf"Own overrides {name}.*agenerate"):
        type("Own", (*mixin, InferenceEndpointsLLM), body)


def test_overrides_that_cannot_be_called_are_refused() -> None:
    """A plain function, a signature without what is passed, both methods, an async `load`."""

    def plain(self: Any, input: Any, **_: Any) -> Any:  # noqa: A002
        return input

    async def narrow(self: Any, input: Any) -> Any:  # noqa: A002
        return input

    async def fine(self: Any, input: Any, **_: Any) -> Any:  # noqa: A002
        return input

    cases: list[tuple[dict[str, Any], str]] = [
        ({"agenerate": plain}, "async def agenerate"),
        ({"agenerate": narrow}, "num_generations"),
        ({"agenerate": fine, "agenerate_output": fine}, "both"),
        ({"load": fine}, "load must not be async"),
        ({"model_name": plain}, "model_name must be a property"),
    ]
    for body, match in cases:
        with pytest.raises(ConfigurationError, match=match):
            type("Own", (InferenceEndpointsLLM,), body)


@pytest.mark.parametrize("name", ["_answer", "_lease", "_target_settings"])
@pytest.mark.parametrize("member", [lambda self: None, 7], ids=["method", "attribute"])
@pytest.mark.parametrize("mixed_in", [False, True])
def test_a_private_name_that_is_taken_is_refused(name: str, member: Any, mixed_in: bool) -> None:
    """A subclass does not break the package by a name it could not know; the error names it."""
    mixin = (type("Mixin", (), {name: member}),) if mixed_in else ()
    body = {} if mixed_in else {name: member}
    with pytest.raises(ConfigurationError, match=rf"Own defines {name}, .*another name"):
        type("Own", (*mixin, InferenceEndpointsLLM), body)


def test_private_names_of_a_subclass_are_its_own(simulated_endpoint: Make) -> None:
    """Methods, private attributes and what a notebook shows: none of it touches the package."""

    class Own(InferenceEndpointsLLM):
        _asked: int = 0

        def _polite(self, text: str) -> str:
            self._asked += 1
            return f"{text}, please"

        def _repr_html_(self) -> str:
            return f"<b>{self._asked}</b>"

        async def agenerate(self, input: Any, *args: Any, **more: Any) -> Any:  # noqa: A002
            return await super().agenerate(say(self._polite("Hi"))[0], *args, **more)

    class Child(Own):
        _asked: int = 5

    endpoint = simulated_endpoint(flavor="vllm")
    with Child(base_url=endpoint.url) as llm:
        llm.generate(say("a"))
        assert llm._repr_html_() == "<b>6</b>"
    assert asked(endpoint) == {"Hi, please"}


def test_load_without_super_is_explained(simulated_endpoint: Make) -> None:
    """The first call says what is missing in the subclass's `load`."""

    class Lazy(InferenceEndpointsLLM):
        def load(self) -> None:
            """Forgets the rest."""

    llm = Lazy(base_url=simulated_endpoint(flavor="vllm").url)
    with pytest.raises(ConfigurationError, match=r"Lazy.load\(\) .*super\(\).load\(\)"):
        llm.generate(say("a"))
    with pytest.raises(ConfigurationError, match=r"super\(\).load\(\)"):
        asyncio.run(llm.agenerate(say("a")[0]))


def test_load_is_overridden(simulated_endpoint: Make) -> None:
    """What a subclass does before and after `super().load()` is done at the first call."""
    endpoint = simulated_endpoint(flavor="vllm")

    class Late(InferenceEndpointsLLM):
        def load(self) -> None:
            self.base_url = endpoint.url
            super().load()

    with Late(base_url="http://127.0.0.1:9") as llm:
        assert llm.generate(say("a"))[0][0]


class Own(InferenceEndpointsLLM):
    """Fields, defaults and validators of its own."""

    timeout: float = 30
    style: str = "plain"
    """How answers should sound."""
    licence: SecretStr | None = None
    calls: int = 0

    @field_validator("style")
    @classmethod
    def _is_known(cls, given: str) -> str:
        if given not in {"plain", "formal"}:
            raise ValueError("no such style")
        return given

    @model_validator(mode="after")
    def only_one_of_model_id_endpoint_name_or_base_url_provided(self) -> Self:
        """Replaces the package's check, under distilabel's name for it."""
        return self


def test_fields_and_validators_are_overridden() -> None:
    """Defaults and checks of a subclass hold; assigning validates as in the base class."""
    llm = Own(base_url="http://127.0.0.1:9", licence=SecretStr("hush"))
    assert llm.timeout == 30
    with pytest.raises(ConfigurationError, match="no such style"):
        Own(base_url="http://127.0.0.1:9", style="odd")
    for name, wrong in (("style", "odd"), ("timeout", "abc"), ("max_concurrency", 0)):
        with pytest.raises(ConfigurationError, match=name):
            setattr(llm, name, wrong)
    with pytest.raises(ConfigurationError, match="Did you mean 'style'"):
        llm.stile = "formal"
    assert "hush" not in json.dumps(llm.dump())
    assert Own.from_dict(llm.dump()).style == "plain"
    assert Own.model_fields["style"].description == "How answers should sound."


def test_a_replaced_check_leaves_a_clear_error() -> None:
    """Without the package's check and without a target, `load` says what is missing."""
    with pytest.raises(ConfigurationError, match="Give one of model_id"):
        Own().load()


def test_a_field_of_a_subclass_may_change_between_rows(simulated_endpoint: Make) -> None:
    """A counter of one's own does not make the object load anew."""
    with Own(base_url=simulated_endpoint(flavor="vllm").url) as llm:
        before = llm.statistics().succeeded
        llm.generate(say("a"))
        llm.calls += 1
        assert llm.statistics().succeeded == before + 1


class Counting:
    """A client around another one."""

    def __init__(self, client: Client, seen: list[Request]) -> None:
        self._client, self._seen = client, seen

    async def complete(self, request: Request) -> Answer | Failure:
        self._seen.append(request)
        return await self._client.complete(request)

    async def aclose(self) -> None:
        await self._client.aclose()


class Canned:
    """A client that sends nothing."""

    async def complete(self, request: Request) -> Answer | Failure:
        return Answer(completions=(Completion(text=f"row {request.ordinal}"),) * request.n)

    async def aclose(self) -> None:
        """Nothing is open."""


def test_a_client_of_ones_own(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`open_client` may wrap the package's client or replace it; a run sends through it."""
    endpoint = simulated_endpoint(flavor="vllm")
    seen: list[Request] = []

    class Wrapped(InferenceEndpointsLLM):
        def open_client(self, client: Client, url: str) -> Client:
            assert url == endpoint.url
            return Counting(client, seen)

    class Replaced(InferenceEndpointsLLM):
        def open_client(self, client: Client, url: str) -> Client:
            return Canned()

    rows = [{"prompt": "a"}, {"prompt": "b"}]
    with InferenceEndpointsLLM(base_url=endpoint.url), Wrapped(base_url=endpoint.url) as wrapped:
        assert all(row["generation"] for row in run(wrapped, rows, tmp_path / "one.jsonl"))
        assert len(seen) == len(endpoint.generations) == 2
        with Replaced(base_url=endpoint.url) as replaced:
            made = run(replaced, rows, tmp_path / "two.jsonl")
    assert [row["generation"] for row in made] == ["row 0", "row 1"]
    assert len(endpoint.generations) == 2
