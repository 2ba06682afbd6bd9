"""Subclasses of `InferenceEndpointsLLM`: what they override is used, or refused.

Rules
- A subclass's `agenerate` or `agenerate_output` answers every row, whichever way the row came in:
  `generate`, a run, a map, Ray. What such a way would pass by is refused when the class is made.
- It runs on the engine's loop, as one of the many that are under way, so it must not block.
- What it got from `super()` keeps its finish reasons, token counts and failures; the texts are its.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

from distilabel_endpoints._clients.parameters import check_parameters
from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints._engine.in_flight import LeftError
from distilabel_endpoints.conversations import Checked
from distilabel_endpoints.errors import (
    ConfigurationError,
    ConversationError,
    DistilabelError,
    ParameterError,
    SchemaError,
    UserCodeError,
)
from distilabel_endpoints.llms.calls import Planner
from distilabel_endpoints.llms.inputs import GenerationParameters, Input
from distilabel_endpoints.llms.outputs import refused_row
from distilabel_endpoints.records import (
    Completion,
    Failure,
    FailureKind,
    Request,
    Result,
    Usage,
)

__all__ = ["Answering", "overridden", "own_parameters", "own_planner", "refuse_ignored", "remember"]

Answering = Literal["agenerate", "agenerate_output"]

_PACKAGE: Final = "distilabel_endpoints."
_HOME: Final = "distilabel_endpoints.llms.huggingface"
_ANSWERING: Final[tuple[Answering, ...]] = ("agenerate", "agenerate_output")
_OF_EVERY_CALL: Final = {"self", "input", "num_generations", *GenerationParameters.__annotations__}

_remembered: ContextVar[tuple[object, list[Result]] | None] = ContextVar(
    "_remembered", default=None
)
"""The object whose override is running in this task, and the results that `super()` gave it."""


def overridden(kind: type) -> Answering | None:
    """Which of the two methods that answer a row is not the package's own."""
    return next((name for name in _ANSWERING if _is_own(kind, name)), None)


def _is_own(kind: type, name: str) -> bool:
    definer = next(parent for parent in kind.__mro__ if name in vars(parent))
    return definer.__module__ != _HOME


def refuse_ignored(kind: type) -> None:
    """Check what a subclass overrides.

    Raises:
        ConfigurationError: it would be ignored, or could not be called.
    """
    for name in _final_names(kind):
        if not getattr(inspect.getattr_static(kind, name), "__final__", False):
            raise ConfigurationError(
                f"{kind.__name__} overrides {name}, which runs and maps do not use. Override "
                "agenerate instead: every way to an answer uses it."
            )
    if clashes := _clashes(kind):
        raise ConfigurationError(
            f"{kind.__name__} defines {clashes[0]}, a name that InferenceEndpointsLLM uses itself. "
            "Give it another name."
        )
    if all(_is_own(kind, name) for name in _ANSWERING):
        raise ConfigurationError(
            f"{kind.__name__} overrides both agenerate and agenerate_output. Keep one: each row is "
            "answered by one of them."
        )
    method = overridden(kind)
    if method is not None:
        _check_method(kind, method)
    if inspect.iscoroutinefunction(getattr(kind, "load", None)):
        raise ConfigurationError(f"{kind.__name__}.load must not be async: nothing awaits it.")
    if inspect.isfunction(inspect.getattr_static(kind, "model_name")):
        raise ConfigurationError(f"{kind.__name__}.model_name must be a property: add @property.")


def _final_names(kind: type) -> list[str]:
    """The methods that the package marks as final."""
    return [
        name
        for parent in kind.__mro__
        for name, value in vars(parent).items()
        if getattr(value, "__final__", False)
    ]


def _clashes(kind: type) -> list[str]:
    """Private names of the package that a subclass, or a class mixed into it, has for its own."""
    ours = _members(p for p in kind.__mro__ if p.__module__.startswith(_PACKAGE))
    every = _members(kind.__mro__)
    return [name for name, member in ours.items() if every[name] is not member]


def _members(kinds: Iterable[type]) -> dict[str, Any]:
    """The private members of these classes, each as the first of them has it."""
    members: dict[str, Any] = {}
    for kind in kinds:
        for name, member in {**vars(kind), **_private_attributes(kind)}.items():
            # One underscore: `__x` belongs to its class alone, and `_x_` is for others to call.
            if re.fullmatch(r"_[^_].*[^_]", name) and name != "_abc_impl":
                members.setdefault(name, member)
    return members


def _private_attributes(kind: type) -> dict[str, Any]:
    """pydantic keeps these apart from the members, with those of all bases."""
    every: dict[str, Any] = vars(kind).get("__private_attributes__", {})
    inherited = [getattr(base, "__private_attributes__", {}) for base in kind.__bases__]
    return {n: a for n, a in every.items() if all(base.get(n) is not a for base in inherited)}


def _check_method(kind: type, name: Answering) -> None:
    method = inspect.unwrap(getattr(kind, name))
    if not inspect.iscoroutinefunction(method):
        raise ConfigurationError(f"{kind.__name__}.{name} must be a coroutine: `async def {name}`.")
    try:
        inspect.signature(method).bind(None, [], num_generations=1)
    except TypeError:
        raise ConfigurationError(
            f"{kind.__name__}.{name} must take (self, input, num_generations=1, **parameters); it "
            f"takes {inspect.signature(method)}."
        ) from None


def own_parameters(kind: type, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a call, checked; those that an override adds are its own to check.

    Raises:
        ParameterError: one is unknown or has a wrong value, or the override does not take it.
    """
    method = overridden(kind)
    if method is None:
        return check_parameters(parameters)
    signature = inspect.signature(inspect.unwrap(getattr(kind, method)))
    added = {
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and name not in _OF_EVERY_CALL
    }
    own = {name: value for name, value in parameters.items() if name in added}
    ours = check_parameters({n: value for n, value in parameters.items() if n not in added})
    try:
        signature.bind(None, [], num_generations=1, **own, **ours)
    except TypeError as error:
        raise ParameterError(f"{kind.__name__}.{method}: {error}.") from None
    return {**ours, **own}


def own_planner(
    llm: Any,
    method: Answering,
    num_generations: int,
    parameters: Mapping[str, Any],
    seed: int | None,
) -> Planner:
    """Plans rows that `method` of `llm` answers.

    Args:
        llm: an object of a subclass.
        method: what the subclass overrides.
        num_generations: completions per row.
        parameters: of the call.
        seed: of the call or the object. Each row gets its own seed.

    Raises:
        ParameterError: as `own_parameters`.
    """
    checked = own_parameters(type(llm), parameters)
    return _OwnCall(llm, method, num_generations, checked, seed).plan


def remember(llm: object, result: Result) -> None:
    """Keep what the package's own method answered, for the override that called it."""
    running = _remembered.get()
    if running is not None and running[0] is llm:
        running[1].append(result)


@dataclass(frozen=True, slots=True)
class _OwnCall:
    """A call whose rows are answered by an override."""

    llm: Any
    method: Answering
    num_generations: int
    parameters: Mapping[str, Any]
    seed: int | None

    def plan(self, index: int, content: Input) -> RowPlan:
        """One row's plan."""
        return RowPlan(
            request=Request(ordinal=index),
            wanted=self.num_generations,
            answer=partial(self._answer, index, _plain(content)),
        )

    async def _answer(self, index: int, content: Input) -> Result:
        results: list[Result] = []
        own = dict(self.parameters)
        if self.seed is not None:
            own["seed"] = self.seed + index * self.num_generations
        before = _remembered.set((self.llm, results))
        try:
            method = getattr(self.llm, self.method)
            returned = await method(content, num_generations=self.num_generations, **own)
            return _result(index, _output(returned, self.num_generations), results)
        except (ConversationError, SchemaError) as error:
            return refused_row(index, self.num_generations, error)
        except (DistilabelError, LeftError):
            raise
        except Exception as error:
            name = f"{type(self.llm).__name__}.{self.method}"
            reason = f"{type(error).__name__}: {error}"
            raise UserCodeError(name, index, reason) from error
        finally:
            _remembered.reset(before)


def _plain(content: Any) -> Any:
    """An input as users write it."""
    if isinstance(content, tuple):
        return _plain(content[0]), *content[1:]
    return content.messages if isinstance(content, Checked) else content


def _output(returned: Any, wanted: int) -> Mapping[str, Any]:
    """What an override returned, as an `Output`: it may be the texts alone."""
    output = returned if isinstance(returned, Mapping) else {"generations": returned}
    texts = output.get("generations")
    if (
        not isinstance(texts, list | tuple)
        or len(texts) != wanted
        or not all(text is None or isinstance(text, str) for text in texts)
    ):
        raise TypeError(
            f"it must return a list of {wanted} texts or None, or an Output with such 'generations'"
        )
    return output


def _result(index: int, output: Mapping[str, Any], remembered: Sequence[Result]) -> Result:
    texts = output["generations"]
    known = _endings(remembered, len(texts))
    errors = output.get("errors") or [None] * len(texts)
    reasons = output.get("finish_reasons") or [None] * len(texts)
    completions: list[Completion | None] = []
    failures: list[Failure | None] = []
    for text, ending, error, reason in zip(texts, known, errors, reasons, strict=True):
        completion, failure = _slot(text, ending, getattr(error, "failure", None))
        if completion is not None and reason is not None:
            completion = replace(completion, finish_reason=reason)
        completions.append(completion)
        failures.append(failure)
    return Result(
        ordinal=index,
        completions=tuple(completions),
        failures=tuple(failures),
        usages=_usages(output, remembered),
        attempts=sum(result.attempts for result in remembered),
    )


def _endings(remembered: Sequence[Result], wanted: int) -> list[Completion | Failure | None]:
    """What each generation came from: the last call for as many, else all calls in a row."""
    for result in reversed(remembered):
        if len(result.completions) == wanted:
            return list(result.endings)
    endings = [ending for result in remembered for ending in result.endings]
    return endings if len(endings) == wanted else [None] * wanted


def _slot(
    text: str | None, ending: Completion | Failure | None, error: Failure | None
) -> tuple[Completion | None, Failure | None]:
    """One generation: a completion with the override's text, or why there is none."""
    if text is not None:
        if isinstance(ending, Completion):
            return replace(ending, text=text), None
        return Completion(text=text), None
    if error is not None:
        return None, error
    if isinstance(ending, Completion) and ending.text is None:
        return ending, None  # tool calls, or thinking alone
    if isinstance(ending, Failure):
        return None, ending
    message = "the subclass's own method returned None"
    return None, Failure(kind=FailureKind.CONTENT, code="no_answer", message=message)


def _usages(output: Mapping[str, Any], remembered: Sequence[Result]) -> tuple[Usage, ...]:
    counted = output.get("statistics")
    if not counted:
        return tuple(usage for result in remembered for usage in result.usages)
    names = [
        name for name in ("input_tokens", "output_tokens", "reasoning_tokens") if name in counted
    ]
    counts = zip(*(counted[name] for name in names), strict=True)
    return tuple(Usage(**dict(zip(names, each, strict=True))) for each in counts)
