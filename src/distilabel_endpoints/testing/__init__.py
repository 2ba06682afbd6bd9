"""A simulated inference endpoint, to test jobs against without a model, a GPU or a token.

Real sockets on this machine that speak OpenAI's API, TGI's, vLLM's, SGLang's and llama.cpp's, the
Hub's router and the control plane of Inference Endpoints; with slots, latencies, rate limits and
every fault that endpoints are known for:

    from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

    faults = (Fault(Respond(503), times=3),)
    with SimulatedEndpoint(flavor="tgi", slots=4, faults=faults) as endpoint:
        llm = InferenceEndpointsLLM(base_url=endpoint.url)
        ...
        assert endpoint.peak_in_flight <= 4

The same request gets the same answer, whatever the order of arrival. Importing this costs nothing:
names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilabel_endpoints.testing.answer_request import AnswerRequest
    from distilabel_endpoints.testing.app import build_app
    from distilabel_endpoints.testing.bounds import greedy_bound
    from distilabel_endpoints.testing.endpoint import LoopEndpoint, SimulatedEndpoint, serve
    from distilabel_endpoints.testing.endpoint_settings import (
        Deployment,
        Hardware,
        HubModel,
        Latency,
        Lengths,
        Limits,
        Settings,
        Throughput,
        Token,
    )
    from distilabel_endpoints.testing.faults import (
        Action,
        BreakStream,
        Drip,
        Fault,
        Flood,
        Garble,
        Hang,
        Pause,
        Recast,
        Refuse,
        Reset,
        Respond,
        Revoke,
        Rewrite,
        SpendCredits,
        Throttle,
        Truncate,
    )
    from distilabel_endpoints.testing.request_log import EndpointStatistics, RequestRecord
    from distilabel_endpoints.testing.servers import SERVERS
    from distilabel_endpoints.testing.simulation import Simulation

__all__ = [
    "SERVERS",
    "Action",
    "AnswerRequest",
    "BreakStream",
    "Deployment",
    "Drip",
    "EndpointStatistics",
    "Fault",
    "Flood",
    "Garble",
    "Hang",
    "Hardware",
    "HubModel",
    "Latency",
    "Lengths",
    "Limits",
    "LoopEndpoint",
    "Pause",
    "Recast",
    "Refuse",
    "RequestRecord",
    "Reset",
    "Respond",
    "Revoke",
    "Rewrite",
    "Settings",
    "SimulatedEndpoint",
    "Simulation",
    "SpendCredits",
    "Throttle",
    "Throughput",
    "Token",
    "Truncate",
    "build_app",
    "greedy_bound",
    "serve",
]

_HOMES = {
    "app": ("build_app",),
    "answer_request": ("AnswerRequest",),
    "bounds": ("greedy_bound",),
    "endpoint": ("LoopEndpoint", "SimulatedEndpoint", "serve"),
    "request_log": ("EndpointStatistics", "RequestRecord"),
    "servers": ("SERVERS",),
    "endpoint_settings": (
        "Deployment",
        "Hardware",
        "HubModel",
        "Latency",
        "Lengths",
        "Limits",
        "Settings",
        "Throughput",
        "Token",
    ),
    "simulation": ("Simulation",),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "faults")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
