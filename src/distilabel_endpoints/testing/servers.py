"""Nine servers that limits on concurrency are judged by, A to I.

Throughput curves are published measurements: Nemotron Nano on two B200, a 405B model on MI325X,
and Nemotron Super, which collapses past 128 requests. One thing is hard about each of the others:
refusals, request rates, random refusals, a late start, a shift of lengths, a gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from distilabel_endpoints.testing.endpoint_settings import Lengths, Limits, Settings, Throughput

__all__ = ["COLLAPSE", "LARGE", "NANO", "SERVERS"]

NANO = Throughput(
    (
        (1, 277),
        (8, 1_881),
        (16, 3_455),
        (32, 5_600),
        (64, 8_120),
        (128, 11_556),
        (256, 15_552),
        (512, 18_746),
        (1024, 18_829),
    )
)
LARGE = Throughput(((10, 1_090), (50, 4_381), (100, 6_802)))
COLLAPSE = Throughput(
    (
        (1, 73),
        (8, 570),
        (16, 1_054),
        (32, 2_120),
        (64, 3_816),
        (128, 3_799),
        (256, 1_586),
    )
)


def _server(
    latency: Throughput,
    slots: int,
    mean: float,
    limits: Limits | None = None,
    *,
    changes: tuple[tuple[float, float], ...] = (),
) -> Settings:
    return Settings(
        flavor="vllm",
        slots=slots,
        latency=latency,
        lengths=Lengths(mean, spread="exponential", changes=changes),
        limits=limits or Limits(),
        log=False,
    )


SERVERS: Mapping[str, Settings] = MappingProxyType(
    {
        "A": _server(NANO, 1024, 256),
        "B": _server(LARGE, 100, 256),
        "C": _server(COLLAPSE, 1024, 256),
        "D": _server(NANO, 128, 256, Limits(queue=0)),
        "E": _server(LARGE, 100, 128, Limits(requests_per_minute=600)),
        "F": _server(LARGE, 100, 256, Limits(random_refusals=0.5)),
        "G": _server(LARGE, 100, 256, Limits(unavailable_for=180)),
        "H": _server(LARGE, 100, 64, changes=((500.0, 1024),)),
        "I": _server(LARGE, 100, 1024, Limits(gateway_timeout=60)),
    }
)
