"""A run's use of its dedicated endpoint. For other targets nothing is done, and nothing loaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast, get_args

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.lifecycle.decisions import Then
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

__all__ = ["check_then", "is_asleep", "life_of_run"]


def check_then(then: str | None, *, has_endpoint: bool) -> Then:
    """How to leave the endpoint; default: restore what the run woke.

    Raises:
        ConfigurationError: there is no such way, or no dedicated endpoint.
    """
    if then is None:
        return "restore"
    if then not in get_args(Then):
        raise ConfigurationError(f"then must be one of {', '.join(get_args(Then))}; got {then!r}.")
    if not has_endpoint:
        raise ConfigurationError(
            "then (--then) says how a dedicated endpoint is left, so it needs endpoint_name."
        )
    return cast("Then", then)


def is_asleep(llm: InferenceEndpointsLLM) -> bool:
    """Whether `llm` has a dedicated endpoint that is paused or scaled to zero. Wakes nothing.

    Raises:
        RunError: the endpoint cannot be read.
    """
    if llm.endpoint_name is None:
        return False
    from distilabel_endpoints.lifecycle.life import Plane

    plane = Plane.of(llm)
    return plane.token is not None and plane.read().is_asleep


def life_of_run(
    llm: InferenceEndpointsLLM, then: Then | None, output: Path, say: Callable[[str], None]
) -> AbstractContextManager[object]:
    """`endpoint_life` for a run into `output`; the watchdog's log is beside its journal.

    Raises:
        ConfigurationError: `then` is not a way to leave it, or there is no dedicated endpoint.
    """

    if llm.endpoint_name is None:
        check_then(then, has_endpoint=False)
        return nullcontext()
    from distilabel_endpoints.lifecycle.life import endpoint_life

    log = output.with_name(f"{output.name}.endpoint.log")
    return endpoint_life(llm, then, log=log, say=say)
