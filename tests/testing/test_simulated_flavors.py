"""The marks that flavors are told by, and the shapes of their refusals."""

from __future__ import annotations

import json
from asyncio import sleep
from typing import Any

import pytest
from virtual_client import run_virtually, virtual_endpoint

from distilabel_endpoints.testing import Limits, Token
from distilabel_endpoints.testing.endpoint_settings import FLAVORS, FlavorName
from distilabel_endpoints.testing.flavors import error_reply, not_ready

MARKS: dict[str, set[str]] = {
    "/info": {"tgi"},
    "/version": {"vllm"},
    "/get_model_info": {"sglang"},
    "/props": {"llamacpp"},
    "/v1/health": {"llamacpp"},
    "/health": set(FLAVORS),
    "/v1/models": set(FLAVORS),
    "/nothing": set(),
}


@pytest.mark.parametrize("flavor", FLAVORS)
def test_each_flavor_has_its_own_paths(flavor: FlavorName) -> None:
    """200 where the flavor has the path, its 404 where it has not."""

    async def main() -> None:
        async with virtual_endpoint(flavor=flavor) as (_, talker):
            for path, known in MARKS.items():
                status, _ = await talker.get(path)
                assert (path, status) == (path, 200 if flavor in known else 404)
            for path in ("/", "/generate", "/generate_stream"):
                status, _ = await talker.post(path, {"inputs": "x"})
                assert (path, status) == (path, 200 if flavor == "tgi" else 404)

    run_virtually(main())


@pytest.mark.parametrize("flavor", FLAVORS)
def test_models_name_what_is_served_and_by_whom(flavor: FlavorName) -> None:
    """One model, owned by the engine where the engine says so."""

    async def main() -> None:
        limits = Limits(context_tokens=2048)
        async with virtual_endpoint(flavor=flavor, model="org/name", limits=limits) as (_, talker):
            _, answer = await talker.get("/v1/models")
            (model,) = answer["data"]
            assert model["id"] == "org/name"
            owner = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp"}.get(flavor)
            assert owner in (None, model["owned_by"])
            if flavor in ("vllm", "sglang"):
                assert model["max_model_len"] == 2048

    run_virtually(main())


def test_servers_describe_themselves() -> None:
    """TGI's limits, llama.cpp's slots, SGLang's path."""

    async def main() -> None:
        limits = Limits(queue=8, context_tokens=100)
        async with virtual_endpoint(flavor="tgi", slots=4, limits=limits, model="m") as (_, talker):
            _, about = await talker.get("/info")
            assert (about["model_id"], about["max_concurrent_requests"]) == ("m", 12)
            assert about["max_total_tokens"] == 100
        async with virtual_endpoint(flavor="llamacpp", slots=3) as (_, talker):
            _, about = await talker.get("/props")
            assert about["total_slots"] == 3
            assert (await talker.get("/health")) == (200, {"status": "ok"})
        async with virtual_endpoint(flavor="sglang", model="m") as (_, talker):
            _, about = await talker.get("/get_model_info")
            assert about["model_path"] == "m"
        async with virtual_endpoint(flavor="vllm") as (_, talker):
            assert "version" in (await talker.get("/version"))[1]

    run_virtually(main())


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("status", [400, 401, 404, 422, 424, 429, 500, 503, 529, 599])
def test_errors_have_the_flavors_shape(flavor: FlavorName, status: int) -> None:
    """Status kept, a message always there, under the flavor's keys."""
    reply = error_reply(flavor, status)
    body: Any = json.loads(reply.body)
    assert reply.status == status
    if flavor == "tgi":
        assert body["error"]
        assert body["error_type"]
    elif flavor == "sglang":
        assert body["message"]
        assert body["code"] == status
    else:
        assert body["error"]["message"]
        assert body["error"]["type"]


@pytest.mark.parametrize(
    ("flavor", "status", "kind", "code"),
    [
        ("tgi", 422, "validation", None),
        ("tgi", 424, "generation", None),
        ("tgi", 429, "overloaded", None),
        ("tgi", 500, "unknown", None),
        ("vllm", 400, "BadRequestError", 400),
        ("vllm", 404, "NotFoundError", 404),
        ("sglang", 404, "NotFoundError", 404),
        ("llamacpp", 404, "not_found_error", 404),
        ("llamacpp", 503, "unavailable_error", 503),
        ("openai", 401, "invalid_request_error", "invalid_api_key"),
        ("openai", 402, "insufficient_quota", "insufficient_quota"),
        ("openai", 429, "requests", "rate_limit_exceeded"),
        ("openai", 500, "server_error", None),
        ("openai", 400, "invalid_request_error", None),
    ],
)
def test_errors_are_named_as_the_server_names_them(
    flavor: FlavorName, status: int, kind: str, code: Any
) -> None:
    """The type, and the code where there is one."""
    body = json.loads(error_reply(flavor, status).body)
    if flavor == "tgi":
        assert body["error_type"] == kind
        return
    error = body if flavor == "sglang" else body["error"]
    assert (error["type"], error["code"]) == (kind, code)


def test_tgi_says_overloaded_by_itself() -> None:
    """The words and the type that TGI's clients look for."""
    assert b'"Model is overloaded","error_type":"overloaded"' in error_reply("tgi", 429).body


def test_llamacpp_says_loading_by_itself() -> None:
    """The object that llama.cpp answers with until the model is there."""
    expected = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
    assert not_ready("llamacpp").body == expected


@pytest.mark.parametrize("flavor", FLAVORS)
def test_start_up_takes_its_time(flavor: FlavorName) -> None:
    """503 on every path until the second it is there, 200 from then on."""

    async def main() -> None:
        limits = Limits(unavailable_for=180)
        async with virtual_endpoint(flavor=flavor, limits=limits) as (_, talker):
            paths = ("/health", "/v1/models")
            assert [(await talker.get(path))[0] for path in paths] == [503, 503]
            assert (await talker.chat())[0] == 503
            await sleep(179)
            assert (await talker.chat())[0] == 503
            await sleep(1)
            assert (await talker.chat())[0] == 200

    run_virtually(main())


@pytest.mark.parametrize("flavor", FLAVORS)
def test_tokens_are_asked_for_where_some_are_named(flavor: FlavorName) -> None:
    """No token and a wrong one are 401; a named one passes, until it is revoked."""

    async def main() -> None:
        async with virtual_endpoint(flavor=flavor, tokens=(Token("secret"),)) as (endpoint, talker):
            good = {"Authorization": "Bearer secret"}
            assert (await talker.chat())[0] == 401
            assert (await talker.chat(headers={"Authorization": "Bearer wrong"}))[0] == 401
            assert (await talker.chat(headers={"Authorization": "Basic secret"}))[0] == 401
            assert (await talker.chat(headers=good))[0] == 200
            endpoint.revoke("secret")
            assert (await talker.chat(headers=good))[0] == 401
            endpoint.restore("secret")
            assert (await talker.chat(headers=good))[0] == 200

    run_virtually(main())


def test_an_open_endpoint_refuses_only_what_was_revoked() -> None:
    """Without named tokens anybody may ask, except with a revoked one."""

    async def main() -> None:
        async with virtual_endpoint() as (endpoint, talker):
            endpoint.revoke("spent")
            assert (await talker.chat())[0] == 200
            assert (await talker.chat(headers={"Authorization": "Bearer any"}))[0] == 200
            assert (await talker.chat(headers={"Authorization": "Bearer spent"}))[0] == 401

    run_virtually(main())
