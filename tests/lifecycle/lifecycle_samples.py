"""What the tests of endpoints' lives share: an endpoint `ada/mine`, sights and duties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distilabel_endpoints.lifecycle.decisions import Doubt, Duty
from distilabel_endpoints.lifecycle.sight import Mark, Person, Sight
from distilabel_endpoints.testing import Deployment, Hardware, SimulatedEndpoint, Token

Start = Callable[..., SimulatedEndpoint]

KEY = "hf_ada"
TOKENS = (Token(KEY, user="ada"), Token("hf_bob", user="bob", orgs=("ada",)))
CONTROL = "/control/v2/endpoint/ada/mine"
ADA, BOB = Person("1", "ada"), Person("2", "bob")
WOKEN = Mark(ADA, "2026-11-28T12:00:00.000Z")


def deployment(state: str = "paused", **changes: Any) -> Deployment:
    """The endpoint `ada/mine`, at $4.80 an hour."""
    changes.setdefault("hardware", Hardware(price_per_hour=4.8))
    return Deployment("mine", namespace="ada", state=state, **changes)  # type: ignore[arg-type]


def seen(state: str = "running", mark: Mark = WOKEN, **changes: Any) -> Sight:
    """`ada/mine` as it was read."""
    values: dict[str, Any] = {
        "namespace": "ada",
        "name": "mine",
        "state": state,
        "message": "",
        "mark": mark,
        "ready": 1,
        "target": 1,
        "least": 1,
        "most": 1,
        "idle_minutes": None,
        "measure": None,
        "hardware": "aws-us-east-1-nvidia-l4-x1",
        "repository": "org/model",
    }
    return Sight(**{**values, **changes})


def duty(state: Any = "paused", mark: Mark = WOKEN, doubt: Doubt = Doubt.NONE) -> Duty:
    """What `ada` must restore."""
    return Duty(state=state, mark=mark, owner=ADA, doubt=doubt)


def commands(endpoint: SimulatedEndpoint) -> list[str]:
    """What the control plane was told to do, in order; reads left out."""
    return [
        record.path.removeprefix(CONTROL).strip("/") or record.method
        for record in endpoint.requests
        if record.kind == "control" and record.method != "GET"
    ]
