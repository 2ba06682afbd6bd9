"""What a server says about itself: models, health, version, properties.

These are the marks that clients tell the flavors apart by.
"""

from __future__ import annotations

from typing import Any, assert_never

from distilabel_endpoints.testing.exchange import Exchange
from distilabel_endpoints.testing.routes.openai import CREATED
from distilabel_endpoints.testing.wire import Reply, json_reply

__all__ = ["OWNERS", "health", "model_info", "models", "properties", "tgi_info", "version"]

OWNERS = {
    "tgi": "simulated",
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "openai": "simulated",
}
"""`owned_by` of the one model served, by flavor."""

_CONTEXT = 32768


def _context(exchange: Exchange) -> int:
    return exchange.settings.limits.context_tokens or _CONTEXT


def models(exchange: Exchange) -> Reply:
    """`GET /v1/models`."""
    name, flavor = exchange.settings.model, exchange.flavor
    entry: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": CREATED,
        "owned_by": OWNERS[flavor],
    }
    match flavor:
        case "vllm" | "sglang":
            entry |= {"root": name, "max_model_len": _context(exchange)}
        case "llamacpp":
            entry |= {"meta": {"n_ctx_train": _context(exchange)}}
        case "tgi" | "openai":
            pass
        case _:
            assert_never(flavor)
    return json_reply(200, {"object": "list", "data": [entry]})


def health(exchange: Exchange) -> Reply:
    """`GET /health`: an empty 200, or llama.cpp's object."""
    if exchange.flavor == "llamacpp":
        return json_reply(200, {"status": "ok"})
    return Reply(200)


def version(_: Exchange) -> Reply:
    """vLLM's `GET /version`."""
    return json_reply(200, {"version": "0.99.0+simulated"})


def model_info(exchange: Exchange) -> Reply:
    """SGLang's `GET /get_model_info`."""
    return json_reply(
        200,
        {
            "model_path": exchange.settings.model,
            "tokenizer_path": exchange.settings.model,
            "is_generation": True,
        },
    )


def properties(exchange: Exchange) -> Reply:
    """llama.cpp's `GET /props`."""
    return json_reply(
        200,
        {
            "default_generation_settings": {"n_ctx": _context(exchange)},
            "total_slots": exchange.settings.slots or 1,
            "model_path": f"/models/{exchange.settings.model}.gguf",
            "chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
            "build_info": "simulated",
        },
    )


def tgi_info(exchange: Exchange) -> Reply:
    """TGI's `GET /info`."""
    settings = exchange.settings
    room = None
    if settings.slots is not None and settings.limits.queue is not None:
        room = settings.slots + settings.limits.queue
    return json_reply(
        200,
        {
            "model_id": settings.model,
            "model_sha": None,
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": room or 128,
            "max_best_of": 2,
            "max_stop_sequences": 4,
            "max_input_tokens": _context(exchange) - 1,
            "max_total_tokens": _context(exchange),
            "validation_workers": 2,
            "max_client_batch_size": 4,
            "router": "text-generation-router",
            "version": "3.99.0",
            "sha": None,
            "docker_label": None,
        },
    )
