"""The public face: every type that a caller meets has a public home, and says what it holds."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import distilabel_endpoints
from distilabel_endpoints import InferenceEndpointsLLM

PACKAGE = "distilabel_endpoints"
DOORS = [PACKAGE, f"{PACKAGE}.errors", f"{PACKAGE}.records", f"{PACKAGE}.ray", f"{PACKAGE}.testing"]
"""Where users import from."""


def names_in_type_checking() -> dict[str, Any]:
    """Classes that some module imports for its annotations only."""
    names: dict[str, Any] = {}
    for info in pkgutil.walk_packages(distilabel_endpoints.__path__, f"{PACKAGE}."):
        if ".pipeline" in info.name or info.name.endswith(("__main__", ".local.llama")):
            continue
        module = importlib.import_module(info.name)
        names |= {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    return names


NAMES = names_in_type_checking()


def parts_of(annotation: Any) -> Iterator[type]:
    """Every class of this package that an annotation names."""
    if isinstance(annotation, type) and annotation.__module__.startswith(PACKAGE):
        yield annotation
    for part in typing.get_args(annotation):
        yield from parts_of(part)


def hints_of(thing: Any) -> Iterator[Any]:
    """The annotations of a function, or of a class's public attributes, properties and methods."""
    if not isinstance(thing, type):
        yield from typing.get_type_hints(thing, localns=NAMES).values()
        return
    own = {
        name: hint
        for kind in reversed(thing.__mro__)
        if kind.__module__.startswith(PACKAGE)
        for name, hint in typing.get_type_hints(kind, localns=NAMES).items()
    }
    yield from (hint for name, hint in own.items() if not name.startswith("_"))
    for name, member in inspect.getmembers_static(thing):
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        is_public = not name.startswith("_") or name == "__init__"
        is_ours = inspect.isfunction(function) and function.__module__.startswith(PACKAGE)
        if is_public and is_ours:
            yield from typing.get_type_hints(function, localns=NAMES).values()


def met_from(door: str) -> set[type]:
    """Every class of this package that can be reached from what a door exports."""
    module = importlib.import_module(door)
    waiting = [getattr(module, name) for name in module.__all__ if name != "__version__"]
    met = {thing for thing in waiting if isinstance(thing, type)}
    waiting = [one for one in waiting if isinstance(one, type) or inspect.isfunction(one)]
    while waiting:
        for hint in hints_of(waiting.pop()):
            new = set(parts_of(hint)) - met
            met |= new
            waiting += new
    return met


@pytest.mark.parametrize("door", DOORS)
def test_what_a_caller_meets_has_a_public_home(door: str) -> None:
    """No public signature or attribute names a class of a private module, or one not exported."""
    hidden = [
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in met_from(door)
        if any(part.startswith("_") for part in kind.__module__.split("."))
        or kind.__name__ not in importlib.import_module(kind.__module__).__all__
    ]
    assert sorted(hidden) == []


def test_attribute_docstrings_reach_help_and_the_schema() -> None:
    """What stands beside an attribute is in `help()` and in `model_json_schema()`."""
    schema = InferenceEndpointsLLM.model_json_schema()["properties"]
    assert schema["model_id"]["description"].startswith("A model on the Hub")
    assert "A model on the Hub" in (InferenceEndpointsLLM.__doc__ or "")
