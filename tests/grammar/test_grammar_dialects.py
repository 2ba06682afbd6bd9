"""`constrain`: what goes over the wire, through the real clients, for each server and route."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.inference._common import RequestParameters
from openai import AsyncOpenAI

from distilabel_endpoints.grammar import Grammar, GrammarFormat, constrain, parse_grammar
from distilabel_endpoints.records import Route, Server

SCHEMA: dict[str, Any] = {
    "title": "A person!",
    "type": "object",
    "properties": {"name": {"type": "string"}, "dead": {"const": False}},
    "required": ["name", "dead"],
    "additionalProperties": False,
}
NAMED = {"name": "A_person_", "schema": SCHEMA, "strict": True}
JSON = parse_grammar({"schema": SCHEMA})
REGEX = parse_grammar({"schema": r"^\d+$"})
CHOICE = parse_grammar({"schema": ["yes.", "no"]})
STANDARD = {"response_format": {"type": "json_schema", "json_schema": NAMED}}
TGI_JSON = {"response_format": {"type": "json_object", "value": SCHEMA}}
TGI_REGEX = {"response_format": {"type": "regex", "value": r"\d+"}}
TGI_CHOICE = {"response_format": {"type": "regex", "value": r"yes\.|no"}}
LLAMACPP = (
    {"json_schema": SCHEMA},
    {"grammar": "root ::= [0-9]{1,}"},
    {"grammar": r'root ::= "yes\x2E" | "no"'},
)
VLLM: tuple[Any, Any] = (
    {"structured_outputs": {"regex": r"\d+"}},
    {"structured_outputs": {"choice": ["yes.", "no"]}},
)
SGLANG: tuple[Any, Any] = ({"regex": r"\d+"}, {"regex": r"yes\.|no"})

# What the body of a request holds beside messages and model: for JSON, for a regex, for choices.
WIRE: dict[tuple[Server, Route], tuple[Any, Any, Any]] = {
    (Server.TGI, Route.HUB_CHAT): (TGI_JSON, TGI_REGEX, TGI_CHOICE),
    (Server.TGI, Route.OPENAI_CHAT): (TGI_JSON, TGI_REGEX, TGI_CHOICE),
    (Server.VLLM, Route.HUB_CHAT): (STANDARD, *VLLM),
    (Server.VLLM, Route.OPENAI_CHAT): (STANDARD, *VLLM),
    (Server.VLLM, Route.OPENAI_TEXT): (STANDARD, *VLLM),
    (Server.SGLANG, Route.HUB_CHAT): (STANDARD, *SGLANG),
    (Server.SGLANG, Route.OPENAI_CHAT): (STANDARD, *SGLANG),
    (Server.SGLANG, Route.OPENAI_TEXT): ({"json_schema": JSON.text}, *SGLANG),
    (Server.LLAMACPP, Route.HUB_CHAT): LLAMACPP,
    (Server.LLAMACPP, Route.OPENAI_CHAT): LLAMACPP,
    (Server.LLAMACPP, Route.OPENAI_TEXT): LLAMACPP,
    (Server.OPENAI, Route.HUB_CHAT): (STANDARD, None, None),
    (Server.OPENAI, Route.OPENAI_CHAT): (STANDARD, None, None),
    (Server.ROUTER, Route.HUB_CHAT): (STANDARD, None, None),
    (Server.ROUTER, Route.OPENAI_CHAT): (STANDARD, None, None),
    (Server.UNKNOWN, Route.HUB_CHAT): (STANDARD, None, None),
    (Server.UNKNOWN, Route.OPENAI_CHAT): (STANDARD, None, None),
}
MESSAGES = [{"role": "user", "content": "hi"}]
ENVELOPE = {"messages", "model", "prompt", "stream", "inputs"}


class SentError(Exception):
    """Ends a call once its body is known."""


class Recorder(AsyncInferenceClient):
    """The hub client up to the moment it would open a connection."""

    async def _inner_post(self, request_parameters: RequestParameters, **_: Any) -> Any:
        raise SentError(request_parameters.json)


async def hub_body(server: Server, route: Route, arguments: Mapping[str, Any]) -> Any:
    """The body huggingface_hub would send, to a URL or through its router."""
    router = server is Server.ROUTER
    client = Recorder("org/model" if router else "http://127.0.0.1:1", token="hf_x")
    try:
        if route is Route.HUB_TEXT:
            await client.text_generation("hi", **arguments)
        else:
            await client.chat_completion(MESSAGES, **arguments)
    except SentError as sent:
        return json.loads(json.dumps(sent.args[0]))
    raise AssertionError("nothing was sent")


async def openai_body(route: Route, arguments: Mapping[str, Any]) -> Any:
    """The body openai sends."""
    bodies: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json={"choices": []})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        client = AsyncOpenAI(api_key="x", base_url="http://127.0.0.1:1/v1", http_client=http)
        if route is Route.OPENAI_TEXT:
            await client.completions.create(model="m", prompt="hi", **arguments)
        else:
            messages: Any = MESSAGES
            await client.chat.completions.create(model="m", messages=messages, **arguments)
    return bodies[0]


def on_the_wire(grammar: Grammar, server: Server, route: Route) -> Any:
    """What `constrain` adds to the body that really leaves the client; `None` for nothing."""
    arguments = constrain(grammar, server, route)
    if arguments is None:
        return None
    hub = route in {Route.HUB_CHAT, Route.HUB_TEXT}
    sending = hub_body(server, route, arguments) if hub else openai_body(route, arguments)
    return {key: value for key, value in asyncio.run(sending).items() if key not in ENVELOPE}


def without_nulls(value: Any) -> Any:
    """As huggingface_hub's `filter_none` leaves it: keys whose value is `None` are gone."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("server", "route"), WIRE)
def test_the_body_is_in_the_servers_dialect(server: Server, route: Route) -> None:
    """All three formats, seen in the body after the client did what it does to it."""
    hub = route is Route.HUB_CHAT
    for grammar, wanted in zip((JSON, REGEX, CHOICE), WIRE[server, route], strict=True):
        sent = on_the_wire(grammar, server, route)
        assert (without_nulls(sent) if hub else sent) == (without_nulls(wanted) if hub else wanted)


def test_tgi_text_generation_takes_a_grammar() -> None:
    """`grammar` is a keyword of the hub client's own method."""
    sent = on_the_wire(JSON, Server.TGI, Route.HUB_TEXT)
    assert sent["parameters"]["grammar"] == {"type": "json", "value": without_nulls(SCHEMA)}
    sent = on_the_wire(CHOICE, Server.TGI, Route.HUB_TEXT)
    assert sent["parameters"]["grammar"] == {"type": "regex", "value": r"yes\.|no"}


def test_every_other_pair_constrains_nothing() -> None:
    """`None` where the server has no such route, or ignores what it is sent."""
    known = {*WIRE, (Server.TGI, Route.HUB_TEXT)}
    for server in Server:
        for route in Route:
            if (server, route) not in known:
                for grammar in (JSON, REGEX, CHOICE):
                    assert constrain(grammar, server, route) is None


def test_the_hub_client_rewrites_a_json_schema_even_in_extra_body() -> None:
    """The trap the table avoids; if this changes, the table can be simpler."""
    body = asyncio.run(hub_body(Server.VLLM, Route.HUB_CHAT, {"extra_body": STANDARD}))
    assert body["response_format"]["type"] == "json_object"


@pytest.mark.parametrize("route", [Route.HUB_CHAT, Route.OPENAI_CHAT])
@pytest.mark.parametrize("server", [Server.TGI, Server.VLLM, Server.SGLANG, Server.LLAMACPP])
def test_null_and_false_survive_the_way(server: Server, route: Route) -> None:
    """The hub client drops keys with `None`; a constant null must not become anything at all."""
    schema = {
        "type": "object",
        "properties": {
            "a": {"const": None},
            "const": {"type": "null"},
            "b": {"enum": [None, False, 0, ""]},
            "c": False,
        },
        "additionalProperties": False,
    }
    text = json.dumps(on_the_wire(parse_grammar({"schema": schema}), server, route))
    assert '"a": {"enum": [null]}' in text
    assert '"const": {"type": "null"}' in text
    assert '"b": {"enum": [null, false, 0, ""]}' in text
    assert '"c": false' in text
    assert '"additionalProperties": false' in text


def test_strict_is_only_asked_for_where_it_can_be_had() -> None:
    """OpenAI refuses `strict` for an open schema; the engines that constrain always want it."""
    loose = parse_grammar({"schema": {"type": "object", "properties": {"a": {}}}})
    for server, strict in ((Server.OPENAI, False), (Server.ROUTER, False), (Server.SGLANG, True)):
        sent = on_the_wire(loose, server, Route.OPENAI_CHAT)
        assert sent["response_format"]["json_schema"]["strict"] is strict


@pytest.mark.parametrize(
    ("title", "name"), [(None, "answer"), ("", "answer"), ("né e", "n__e"), ("x" * 99, "x" * 64)]
)
def test_a_schema_has_a_name_openai_takes(title: str | None, name: str) -> None:
    """Letters, digits, `_` and `-`, at most 64 of them."""
    schema = {"type": "object"} if title is None else {"type": "object", "title": title}
    sent = on_the_wire(parse_grammar({"schema": schema}), Server.VLLM, Route.OPENAI_CHAT)
    assert sent["response_format"]["json_schema"]["name"] == name


def test_a_pattern_too_large_for_llamacpp_is_only_checked() -> None:
    """`None` rather than a request the server refuses; the other servers take it."""
    large = parse_grammar({"schema": "((ab){1000}c)"})
    assert constrain(large, Server.LLAMACPP, Route.OPENAI_CHAT) is None
    assert constrain(large, Server.VLLM, Route.OPENAI_CHAT) is not None


def test_what_is_handed_out_is_the_callers() -> None:
    """Changing it does not change the next one."""
    first = constrain(JSON, Server.LLAMACPP, Route.HUB_CHAT)
    assert first is not None
    first["extra_body"]["json_schema"].clear()
    second = constrain(JSON, Server.LLAMACPP, Route.HUB_CHAT)
    assert second is not None
    assert second["extra_body"]["json_schema"] == SCHEMA


def test_formats_are_all_covered() -> None:
    """A fourth format would need a fourth column here."""
    assert {JSON.format, REGEX.format, CHOICE.format} == set(GrammarFormat)
