"""What other packages of ours need from an LLM, and its users do not: its engine, a row's plan.

These are functions, so that the class shows its users what is for them and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints.llms.bodies import BodyPlanner, plan_bodies
from distilabel_endpoints.llms.calls import Planner
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.records import Result

__all__ = [
    "answer_plans",
    "body_planner_of",
    "engine_of",
    "is_made_with",
    "keep_to_provider",
    "planner_of",
]


_OF_SERVERS: Final = frozenset({"model", "base_url"})
"""The settings of a run that servers say."""


def engine_of(llm: InferenceEndpointsLLM) -> Lease:
    """The engine that `llm` sends through; loads it if that was not done before.

    Raises:
        InputError: the attributes do not fit together, or not the server.
        RunError: no request can succeed.
    """
    return llm._engine()


def keep_to_provider(llm: InferenceEndpointsLLM, name: str) -> None:
    """With `provider="sticky"`: let a provider answer that has answered before."""
    if llm._kept_provider != name:
        llm.close()
        llm._kept_provider = name


def is_made_with(
    spec: Mapping[str, Any],
    llm: InferenceEndpointsLLM,
    options: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> bool:
    """Whether a run of these settings is `llm`'s, as far as that is known without its server.

    Args:
        spec: what the run keeps of its settings.
        llm: need not be loaded.
        options: the settings beside it.
        parameters: generation parameters of the run.
    """
    known = llm._known_fingerprint(parameters)
    kept = {name: value for name, value in spec.items() if name not in _OF_SERVERS}
    return bool(kept == json.loads(json.dumps({**options, **known})))


def planner_of(
    llm: InferenceEndpointsLLM, num_generations: int, parameters: Mapping[str, Any]
) -> Planner:
    """Check what is the same for all rows of a call; give back what plans one row.

    Raises:
        InputError: a parameter has a wrong value, or cannot be sent.
    """
    return llm._planner(num_generations, parameters)


def body_planner_of(llm: InferenceEndpointsLLM, *, completes: bool) -> BodyPlanner:
    """What plans requests whose bodies are sent as they are.

    Args:
        llm: what sends them.
        completes: whether they are for the completions API.

    Raises:
        ConfigurationError: an attribute or a subclass would change them, or the client has no
            such API.
    """
    llm._engine()
    return plan_bodies(llm, llm._endpoints, completes=completes)


def answer_plans(
    llm: InferenceEndpointsLLM, plans: Iterable[RowPlan], deliver: Callable[[Result], None]
) -> None:
    """Send what is planned; blocks until each row was delivered, from the engine's thread.

    Raises:
        RunError: no row can be answered; those that were have been delivered.
    """
    llm._answer(plans, deliver)
