"""Which paths exist, per flavor. The Hub, the router and the control plane live under prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from distilabel_endpoints.testing.endpoint_settings import FlavorName
from distilabel_endpoints.testing.exchange import Exchange, Route
from distilabel_endpoints.testing.flavors import error_reply
from distilabel_endpoints.testing.routes import about, openai, tgi
from distilabel_endpoints.testing.wire import Outcome

__all__ = ["CONTROL", "HUB", "ROUTER", "UNKNOWN", "data_routes"]

HUB = "/hub"
ROUTER = "/router"
CONTROL = "/control/v2"


def _not_found(exchange: Exchange) -> Outcome:
    message = f"There is no {exchange.method} {exchange.path}"
    return error_reply(exchange.flavor, 404, message)


UNKNOWN = Route("unknown", _not_found)


def data_routes(flavor: FlavorName) -> Mapping[tuple[str, str], Route]:
    """The data plane of a flavor: method and path to what answers there."""
    routes = {
        ("POST", "/v1/chat/completions"): Route("generate", openai.chat),
        ("POST", "/v1/completions"): Route("generate", openai.completions),
        ("GET", "/v1/models"): Route("about", about.models),
        ("GET", "/health"): Route("about", about.health),
    }
    match flavor:
        case "tgi":
            routes |= {
                ("POST", "/"): Route("generate", tgi.root),
                ("POST", "/generate"): Route("generate", tgi.generate),
                ("POST", "/generate_stream"): Route("generate", tgi.generate_stream),
                ("GET", "/info"): Route("about", about.tgi_info),
            }
        case "vllm":
            routes[("GET", "/version")] = Route("about", about.version)
        case "sglang":
            routes[("GET", "/get_model_info")] = Route("about", about.model_info)
        case "llamacpp":
            routes |= {
                ("GET", "/props"): Route("about", about.properties),
                ("GET", "/v1/health"): Route("about", about.health),
            }
        case "openai":
            pass
        case _:
            assert_never(flavor)
    return routes
