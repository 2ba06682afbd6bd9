"""TGI's own routes, by huggingface_hub's text generation and raw."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import OverloadedError, ValidationError
from virtual_client import run_virtually, virtual_endpoint

from distilabel_endpoints.testing import Fault, Lengths, Limits, Respond, SimulatedEndpoint

Start = Callable[..., SimulatedEndpoint]
PROMPT = "Tell me a story"


async def generate(endpoint: SimulatedEndpoint, **options: Any) -> Any:
    """One text generation with huggingface_hub; a list if streamed."""
    async with AsyncInferenceClient(endpoint.url) as client:
        answer = await client.text_generation(PROMPT, **options)
        return [part async for part in answer] if options.get("stream") else answer


def test_huggingface_hub_reads_every_form(simulated_endpoint: Start) -> None:
    """Text, details, and both streamed tell one story."""
    endpoint = simulated_endpoint(flavor="tgi")

    async def main() -> None:
        options = {"max_new_tokens": 8, "seed": 3}
        text = await generate(endpoint, **options)
        details = await generate(endpoint, **options, details=True, decoder_input_details=True)
        parts = await generate(endpoint, **options, stream=True)
        full = await generate(endpoint, **options, stream=True, details=True)
        assert details.generated_text == text == "".join(parts)
        assert "".join(token.text for token in details.details.tokens) == text
        assert [token.text for token in details.details.prefill] == PROMPT.split()
        assert details.details.generated_tokens == len(parts) == len(full)
        assert details.details.seed == 3
        assert full[-1].generated_text == text
        assert full[-1].details.generated_tokens == len(full)
        assert full[-1].details.finish_reason == details.details.finish_reason
        assert all(event.generated_text is None for event in full[:-1])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_new_tokens": 3}, "length"),
        ({"max_new_tokens": 100}, "eos_token"),
        ({"max_new_tokens": 100, "stop": ["three"]}, "stop_sequence"),
    ],
    ids=str,
)
def test_finish_reasons_are_tgis(
    options: dict[str, Any], reason: str, simulated_endpoint: Start
) -> None:
    """`length`, `eos_token` and `stop_sequence`; the stop stays in the text."""
    endpoint = simulated_endpoint(flavor="tgi", reply=lambda _: "one two three four five")
    answer = asyncio.run(generate(endpoint, details=True, **options))
    assert answer.details.finish_reason == reason
    expected = {"length": "one two three", "stop_sequence": "one two three"}
    assert answer.generated_text == expected.get(reason, "one two three four five")


def test_options_change_the_answer_as_they_say(simulated_endpoint: Start) -> None:
    """The prompt in front, top tokens, the best of two."""
    endpoint = simulated_endpoint(flavor="tgi")

    async def main() -> None:
        text = await generate(endpoint)
        assert await generate(endpoint, return_full_text=True) == PROMPT + text
        top = await generate(endpoint, details=True, top_n_tokens=3, max_new_tokens=4)
        assert [len(tokens) for tokens in top.details.top_tokens] == [3] * len(top.details.tokens)
        best = await generate(endpoint, details=True, best_of=2, do_sample=True)
        (other,) = best.details.best_of_sequences
        assert other.generated_text != best.generated_text

    asyncio.run(main())


def test_grammars_constrain(simulated_endpoint: Start) -> None:
    """`json` and `regex` of TGI's own grammar."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    endpoint = simulated_endpoint(flavor="tgi")

    async def main() -> None:
        text = await generate(endpoint, grammar={"type": "json", "value": schema})
        jsonschema_rs.validate(schema, json.loads(text))
        text = await generate(endpoint, grammar={"type": "regex", "value": r"\d{3}-[xyz]+"})
        assert re.fullmatch(r"\d{3}-[xyz]+", text)

    asyncio.run(main())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 0}, "strictly positive"),
    ({"temperature": "hot"}, "expected int or float"),
    ({"seed": True}, "expected int, got bool"),
    ({"max_new_tokens": 0}, "strictly positive"),
    ({"top_k": -1}, "strictly positive"),
    ({"top_p": 1.0}, "> 0.0 and < 1.0"),
    ({"typical_p": 0}, "> 0.0 and < 1.0"),
    ({"stop": list("abcde")}, "up to 4"),
    ({"best_of": 0}, "strictly positive"),
    ({"best_of": 3}, "<= 2"),
    ({"best_of": 2}, "must use sampling"),
    ({"max_new_tokens": 100}, "must be <= 50"),
    ({"max_new_tokens": 9, "grammar": {"type": "json"}}, "missing field"),
    ({"max_new_tokens": 9, "grammar": {"type": "xml", "value": ""}}, "unknown variant"),
    ({"max_new_tokens": 9, "grammar": {"type": "regex", "value": "("}}, "grammar"),
    ({"max_new_tokens": 9, "grammar": {"type": "json", "value": "{"}}, "grammar"),
]


@pytest.mark.parametrize(("parameters", "problem"), BAD, ids=str)
def test_validation_says_what_is_wrong(parameters: dict[str, Any], problem: str) -> None:
    """422 with TGI's error type, as its own validation answers."""

    async def main() -> None:
        limits = Limits(context_tokens=50)
        async with virtual_endpoint(flavor="tgi", limits=limits) as (_, talker):
            body = {"inputs": "hello", "parameters": parameters}
            status, answer = await talker.post("/generate", body)
            assert (status, answer["error_type"]) == (422, "validation")
            assert problem in answer["error"]

    run_virtually(main())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": 3},
        {"inputs": ""},
        {"inputs": "x", "parameters": []},
        {"inputs": "x", "parameters": 1},
    ],
    ids=str,
)
def test_bodies_that_tgi_cannot_read_are_refused(body: dict[str, Any]) -> None:
    """422, except that no parameters are fine in any empty form."""

    async def main() -> None:
        async with virtual_endpoint(flavor="tgi") as (_, talker):
            status, _ = await talker.post("/", body)
            assert status == (200 if body.get("parameters") == [] else 422)

    run_virtually(main())


def test_best_of_is_not_streamed() -> None:
    """A stream of the best of two is refused."""

    async def main() -> None:
        async with virtual_endpoint(flavor="tgi") as (_, talker):
            body = {"inputs": "x", "parameters": {"best_of": 2, "do_sample": True}}
            assert (await talker.post("/generate_stream", body))[0] == 422
            assert (await talker.post("/", {**body, "stream": True}))[0] == 422

    run_virtually(main())


def test_root_answers_a_list_and_generate_an_object() -> None:
    """The two routes differ in nothing but the list around the answer, and carry TGI's headers."""

    async def main() -> None:
        async with virtual_endpoint(flavor="tgi", lengths=Lengths(5, spread="constant")) as (
            _,
            talker,
        ):
            body = {"inputs": "one two"}
            _, plain = await talker.post("/generate", body)
            _, listed = await talker.post("/", body)
            assert listed == [plain]
            async with talker.raw("/generate", body) as response:
                assert response.headers["x-prompt-tokens"] == "2"
                assert response.headers["x-generated-tokens"] == "5"

    run_virtually(main())


def test_an_empty_answer_still_ends_its_stream() -> None:
    """With nothing to say, one last event has the details."""

    async def main() -> None:
        async with virtual_endpoint(flavor="tgi", reply=lambda _: "") as (_, talker):
            status, text = await talker.post("/generate_stream", {"inputs": "x"})
            assert status == 200
            event = json.loads(text.removeprefix("data:"))
            assert event["generated_text"] == ""
            assert event["details"]["generated_tokens"] == 0

    run_virtually(main())


@pytest.mark.parametrize(
    ("status", "error"), [(422, ValidationError), (429, OverloadedError)], ids=str
)
def test_huggingface_hub_knows_the_error_types(
    status: int, error: type[Exception], simulated_endpoint: Start
) -> None:
    """`error_type` becomes huggingface_hub's own exception."""
    endpoint = simulated_endpoint(flavor="tgi", faults=(Fault(Respond(status)),))
    with pytest.raises(error):
        asyncio.run(generate(endpoint))
