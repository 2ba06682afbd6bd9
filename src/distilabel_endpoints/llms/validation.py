"""pydantic's errors in attributes, as our `ConfigurationError` that names the attribute.

pydantic's own `ValidationError` cannot be subclassed. So it is caught where an object is made or
changed from outside; a model that has one of ours as a field still reports it as pydantic does,
as every `ConfigurationError` is a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from distilabel_endpoints.errors import ConfigurationError

__all__ = ["checked", "unknown_attribute"]

T = TypeVar("T")


def checked(known: Collection[str], make: Callable[[], T]) -> T:
    """What `make` gives back.

    Args:
        known: the attributes that there are.
        make: has pydantic validate something.

    Raises:
        ConfigurationError: something is wrong; the message names the attribute.
    """
    try:
        return make()
    except ValidationError as error:
        text = "; ".join(_described(problem, known) for problem in error.errors(include_url=False))
    # Outside of the handler: what pydantic keeps has the values, and one may be a secret.
    raise ConfigurationError(text)


def unknown_attribute(name: str, known: Collection[str]) -> str:
    """Why `name` is refused, and what was probably meant."""
    close = get_close_matches(name, known, 1)
    meant = f" Did you mean '{close[0]}'?" if close else ""
    return f"'{name}' is not an attribute.{meant}"


def _described(problem: Any, known: Collection[str]) -> str:
    where = ".".join(str(part) for part in problem["loc"] if not _is_branch(part, problem["loc"]))
    reason = problem.get("ctx", {}).get("error")
    if problem["type"] == "extra_forbidden":
        return unknown_attribute(where, known)
    if isinstance(reason, Exception):
        text = str(reason)
        named = not where or where.split(".")[0] in text
        return text if named else f"{where}: {text}"
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])


def _is_branch(part: Any, location: tuple[Any, ...]) -> bool:
    """Whether this names a member of a union (`str`, `list[str]`), not a place in the value."""
    return part is not location[0] and isinstance(part, str) and not part.isidentifier()
