"""`distilabel-endpoints endpoint NAME`: an endpoint's state, its cost, and what a run would do.

Asks the control plane only: nothing here wakes an endpoint.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

from pydantic import SecretStr

from distilabel_endpoints._targets.credentials import token_of_environment
from distilabel_endpoints.errors import ConfigurationError, run_error
from distilabel_endpoints.lifecycle.decisions import state_to_restore
from distilabel_endpoints.lifecycle.hardware_prices import HourlyPrice
from distilabel_endpoints.lifecycle.life import Plane, safety_text
from distilabel_endpoints.lifecycle.sight import Sight
from distilabel_endpoints.records import Failure

__all__ = ["set_idle_minutes", "show_endpoint"]

_LABEL = 14


def show_endpoint(
    name: str, namespace: str | None, key_variable: str | None, *, as_json: bool
) -> str:
    """How it stands, for a person or a program.

    Raises:
        RunError: it cannot be read.
    """
    plane = Plane(name, namespace, _key(key_variable))
    sight = plane.read()
    price = plane.price(sight)
    if as_json:
        return json.dumps(_values(sight, price), ensure_ascii=False)
    return "\n".join(f"{label:<{_LABEL}}{text}" for label, text in _lines(sight, price))


def set_idle_minutes(
    name: str, namespace: str | None, key_variable: str | None, minutes: int
) -> str:
    """Have it scale to zero after N minutes without a request; gives back what was done.

    Raises:
        ConfigurationError: it is running, and the change would deploy it anew.
        RunError: it cannot be changed.
    """
    plane = Plane(name, namespace, _key(key_variable))
    sight = plane.read()
    if not sight.is_asleep:
        raise ConfigurationError(
            f"The endpoint {sight.title} is {sight.state}, and a change of its settings would "
            "deploy it anew, at the cost of its requests. Pause it first, then run this again."
        )
    changed = plane.let_it_sleep(minutes)
    if isinstance(changed, Failure):
        raise run_error(changed)
    return f"{sight.title} scales to zero after {minutes} minutes without a request"


def _key(variable: str | None) -> SecretStr | None:
    """The token in this variable of the environment; None: the usual one."""
    return SecretStr(os.environ[variable].strip()) if variable else token_of_environment()


def _values(sight: Sight, price: HourlyPrice | None) -> dict[str, Any]:
    return {
        **asdict(sight),
        "price_per_hour": price.replica if price else None,
        "most_per_hour": price.most if price else None,
        "stops_itself": sight.stops_itself,
    }


def _lines(sight: Sight, price: HourlyPrice | None) -> list[tuple[str, str]]:
    scaling = f"{sight.least} to {sight.most} replicas"
    if sight.measure:
        scaling += f", by {sight.measure}"
    idle = (
        f"after {sight.idle_minutes} minutes without a request" if sight.stops_itself else "never"
    )
    lines = [
        ("endpoint", sight.title),
        ("model", sight.repository),
        ("state", f"{sight.state}{f' ({sight.message})' if sight.message else ''}"),
        ("replicas", f"{sight.ready} of {sight.target} serve"),
        ("hardware", sight.hardware),
        ("price", price.describe() if price else "not known"),
        ("auto-scaling", scaling),
        ("scale to zero", idle),
        ("changed", f"{sight.mark.at} by {sight.mark.by.name or 'somebody'}"),
        ("a run", _what_happens(sight)),
    ]
    if not sight.stops_itself:
        lines.append(("", safety_text(sight, price)))
    return lines


def _what_happens(sight: Sight) -> str:
    """What `generate` would do with it as it is."""
    if sight.state in {"failed", "updateFailed"}:
        return "stops at once: the endpoint has failed"
    state = state_to_restore("restore", sight, None)
    if state is None:
        return "uses it as it is and leaves it as it is (--then pause stops it at the end)"
    again = "pauses it again" if state == "paused" else "scales it to zero again"
    return f"starts it and {again} at the end (--then keep leaves it running)"
