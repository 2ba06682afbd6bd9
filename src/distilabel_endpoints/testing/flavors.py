"""How each server words its refusals, and what else differs from one to the next.

The shapes follow the servers' own: TGI `{"error", "error_type"}`, vLLM and OpenAI
`{"error": {...}}`, SGLang a flat object, llama.cpp `{"error": {"code", "message", "type"}}`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, assert_never

from distilabel_endpoints.testing.endpoint_settings import FlavorName
from distilabel_endpoints.testing.wire import Reply, json_reply

__all__ = ["FULL_QUEUES", "IMAGES", "error_reply", "has_n", "needs_model", "not_ready"]

IMAGES = {
    "tgi": "tgi",
    "vllm": "vLLM",
    "sglang": "sGLang",
    "llamacpp": "llamacpp",
    "openai": "custom",
}
"""What the control plane calls the image that runs a flavor."""

FULL_QUEUES = {
    "vllm, requests": (
        "The engine is currently busy and cannot accept new requests. "
        "Please try again later or on a different instance."
    ),
    "vllm, tokens": (
        "The engine has reached its prefill token backlog limit. "
        "Please try again later or on a different instance."
    ),
    "sglang, queue": "The request queue is full.",
    "sglang, waiting": "Request waiting timeout reached.",
    "sglang, priority": "The request is aborted by a higher priority request.",
    "nginx": (
        "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n"
        "<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    ),
    "haproxy": (
        "<html><body><h1>503 Service Unavailable</h1>\n"
        "No server is available to handle this request.\n</body></html>\n"
    ),
}
"""What says 503 when it has enough to do: vLLM's `--max-num-queued-reqs` and
`--max-num-queued-tokens`, SGLang's queue, time-out and priorities, nginx's `limit_req` and
`limit_conn`, haproxy's full queue."""

_TGI_TYPES = {
    422: "validation",
    424: "generation",
    429: "overloaded",
    503: "healthcheck",
}
_OPENAI_TYPES = {
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("invalid_request_error", "permission_denied"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_VLLM_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}
_LLAMACPP_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


def has_n(flavor: FlavorName) -> bool:
    """Whether `n` is honoured; TGI gives one choice whatever it says."""
    return flavor != "tgi"


def needs_model(flavor: FlavorName) -> bool:
    """Whether a model name that is not served is an error; TGI and llama.cpp ignore it."""
    return flavor in ("vllm", "sglang", "openai")


def error_reply(
    flavor: FlavorName,
    status: int,
    message: str | None = None,
    *,
    param: str | None = None,
    code: str | None = None,
    **headers: str,
) -> Reply:
    """The flavor's error of that status."""
    text = message or _message(flavor, status)
    return json_reply(status, _shape(flavor, status, text, param, code), **headers)


def _message(flavor: FlavorName, status: int) -> str:
    if flavor == "tgi" and status == 429:
        return "Model is overloaded"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def _shape(
    flavor: FlavorName, status: int, message: str, param: str | None, code: str | None
) -> Any:
    match flavor:
        case "tgi":
            return {"error": message, "error_type": _TGI_TYPES.get(status, "unknown")}
        case "vllm":
            kind = _VLLM_TYPES.get(status, "Error")
            error = {"message": message, "type": kind, "param": param, "code": status}
            return {"error": error}
        case "sglang":
            kind = _VLLM_TYPES.get(status, "Error")
            error = {"message": message, "type": kind, "param": param, "code": status}
            return {"object": "error", **error}
        case "llamacpp":
            kind = _LLAMACPP_TYPES.get(status, "server_error")
            return {"error": {"code": status, "message": message, "type": kind}}
        case "openai":
            kind, usual = _OPENAI_TYPES.get(
                status, ("server_error" if status >= 500 else "invalid_request_error", None)
            )
            error = {"message": message, "type": kind, "param": param, "code": code or usual}
            return {"error": error}
        case _:
            assert_never(flavor)


def not_ready(flavor: FlavorName) -> Reply:
    """The 503 of a server that is still starting."""
    match flavor:
        case "llamacpp":
            return error_reply(flavor, 503, "Loading model")
        case "tgi":
            return error_reply(flavor, 503, "Service is starting")
        case "vllm" | "sglang" | "openai":
            return json_reply(503, {"error": "Service Unavailable"})
        case _:
            assert_never(flavor)
