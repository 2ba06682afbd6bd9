"""Grammars against the real llama.cpp server: both clients, chat and completions, all formats.

A small model at a high temperature keeps to no format by itself: what fits was made to fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import httpx2
import pytest
from huggingface_hub import AsyncInferenceClient
from openai import AsyncOpenAI

from distilabel_endpoints.grammar import Grammar, check, constrain, parse_grammar
from distilabel_endpoints.local import LocalEndpoint
from distilabel_endpoints.records import Route, Server

PERSON = parse_grammar(
    {
        "schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 12},
                "age": {"type": "integer", "minimum": 0, "maximum": 130},
                "spouse": {"const": None},
                "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "maxItems": 2},
            },
            "required": ["name", "age", "spouse", "likes"],
            "additionalProperties": False,
        }
    }
)
PATTERN = parse_grammar({"schema": r"^(?:Mr|Ms)\. [A-Z][a-z]{2,8}(?:, born \d{4})?[^\w\s]$"})
CHOICE = parse_grammar({"schema": ["  yes\n", '"no"\\', "été", "😀 [maybe]", "\ttab"]})
GRAMMARS = {"json": PERSON, "regex": PATTERN, "choice": CHOICE}
ROUTES = [Route.HUB_CHAT, Route.OPENAI_CHAT, Route.OPENAI_TEXT]
PROMPT = "Tell me about a person you know."
SEEDS = (0, 1)
SAMPLING: dict[str, Any] = {"max_tokens": 100, "temperature": 1.5}


@pytest.fixture(scope="module")
def llamacpp() -> Iterator[str]:
    """The address of a llama.cpp server."""
    with LocalEndpoint(slots=2, threads=1) as endpoint:
        yield endpoint.base_url.removesuffix("/v1")


async def hub_answers(base: str, arguments: Mapping[str, Any]) -> list[str]:
    """Through `AsyncInferenceClient.chat_completion`."""
    messages = [{"role": "user", "content": PROMPT}]
    async with AsyncInferenceClient(base, token="none", timeout=100) as client:
        calls = [
            client.chat_completion(messages, **{**SAMPLING, "seed": seed, **arguments})
            for seed in SEEDS
        ]
        return [answer.choices[0].message.content or "" for answer in await asyncio.gather(*calls)]


async def openai_answers(base: str, route: Route, arguments: Mapping[str, Any]) -> list[str]:
    """Through `AsyncOpenAI`, chat or completions."""
    messages: Any = [{"role": "user", "content": PROMPT}]
    http = httpx2.AsyncClient(verify=False, timeout=100)
    async with AsyncOpenAI(api_key="none", base_url=f"{base}/v1", http_client=http) as client:
        calls: list[Any] = []
        for seed in SEEDS:
            options: dict[str, Any] = {"model": "m", **SAMPLING, "seed": seed, **arguments}
            if route is Route.OPENAI_TEXT:
                calls.append(client.completions.create(prompt=PROMPT, **options))
            else:
                calls.append(client.chat.completions.create(messages=messages, **options))
        choices = [answer.choices[0] for answer in await asyncio.gather(*calls)]
    if route is Route.OPENAI_TEXT:
        return [choice.text for choice in choices]
    return [choice.message.content or "" for choice in choices]


def answers(base: str, route: Route, arguments: Mapping[str, Any]) -> list[str]:
    """One answer for each seed."""
    if route is Route.HUB_CHAT:
        return asyncio.run(hub_answers(base, arguments))
    return asyncio.run(openai_answers(base, route, arguments))


def constraint(grammar: Grammar, route: Route) -> Mapping[str, Any]:
    arguments = constrain(grammar, Server.LLAMACPP, route)
    assert arguments is not None
    return arguments


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", GRAMMARS)
def test_llamacpp_is_really_constrained(llamacpp: str, name: str, route: Route) -> None:
    """Every answer fits."""
    grammar = GRAMMARS[name]
    for answer in answers(llamacpp, route, constraint(grammar, route)):
        assert check(grammar, answer) is None, answer


@pytest.mark.parametrize("route", ROUTES)
def test_without_a_constraint_nothing_fits(llamacpp: str, route: Route) -> None:
    """The model does not write any of this on its own, so the tests above prove something."""
    for answer in answers(llamacpp, route, {}):
        assert all(check(grammar, answer) is not None for grammar in GRAMMARS.values())


def test_the_hub_clients_own_response_format_is_lost_on_llamacpp(llamacpp: str) -> None:
    """Rewritten to TGI's dialect it does not constrain: why the table has another field."""
    named = {"name": "person", "schema": PERSON.schema}
    lost = {"response_format": {"type": "json_schema", "json_schema": named}}
    unfit = [check(PERSON, answer) for answer in answers(llamacpp, Route.HUB_CHAT, lost)]
    assert any(reason is not None for reason in unfit)


@pytest.mark.parametrize("pattern", [r"(a{2}){1000}", r"((a*)*|b)+c", r"(|x)y", r"[\s\S]{1,2}"])
def test_llamacpp_reads_every_gbnf_we_write(llamacpp: str, pattern: str) -> None:
    """At the limit of size, with nested empty repeats, with empty alternatives."""
    grammar = parse_grammar({"schema": pattern})
    arguments = {**constraint(grammar, Route.OPENAI_TEXT), "max_tokens": 2}
    assert all(answers(llamacpp, Route.OPENAI_TEXT, arguments))


def composed(rng: Random, depth: int) -> str:
    """A random pattern of everything the core has."""
    if depth == 0:
        atoms = ["a", "é", "😀", r"\d", r"\W", "[b-y]", "[^aeiou]", ".", r"\"", r"[\]\\-]", r"\S"]
        return rng.choice(atoms)
    parts = [composed(rng, depth - 1) for _ in range(rng.randint(1, 3))]
    return rng.choice(
        [
            "".join(parts),
            f"(?:{'|'.join(parts)})",
            f"(?:{parts[0]}){rng.choice(['*', '+', '?', '{2}', '{0,3}', '{1,2}'])}",
        ]
    )


@pytest.mark.prove
def test_llamacpp_follows_any_pattern(llamacpp: str) -> None:
    """Each grammar is taken, and an answer that came to its end matches the pattern."""
    rng = Random(7)
    ended = 0
    for _ in range(80):
        grammar = parse_grammar({"format": "regex", "schema": composed(rng, 3) + "!"})
        arguments = constraint(grammar, Route.OPENAI_TEXT)
        for answer in answers(llamacpp, Route.OPENAI_TEXT, arguments):
            if answer.endswith("!"):
                ended += 1
                assert check(grammar, answer) is None, (grammar.text, answer)
    assert ended > 80


@pytest.mark.prove
def test_llamacpp_follows_any_choices(llamacpp: str) -> None:
    """Whatever they hold, byte for byte, of the characters this model's tokens can write."""
    rng = Random(7)
    blocks = [(0x09, 0x0A), (0x20, 0x7E), (0xA0, 0xFF), (0x3040, 0x30FF), (0x1F300, 0x1F64F)]

    def text() -> str:
        return "".join(chr(rng.randint(*rng.choice(blocks))) for _ in range(rng.randint(1, 8)))

    for _ in range(25):
        grammar = parse_grammar({"format": "choice", "schema": [text() for _ in range(3)]})
        for route in ROUTES:
            for answer in answers(llamacpp, route, constraint(grammar, route)):
                assert check(grammar, answer) is None, (grammar.text, answer)
