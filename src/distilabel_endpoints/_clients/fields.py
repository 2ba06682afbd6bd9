"""The parts of a JSON value, where it has them; nothing here raises on what a server sent."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["Json", "at", "count", "index_of", "objects", "plain", "string"]

Json = dict[str, Any]

_DEEPEST: Final = 16
"""Levels down to which a chunk, a log probability or a tool call is read."""
_MOST_TOKENS: Final = 10**12
_SCALARS: Final = frozenset({int, float, str, bool, type(None)})


def at(values: Any, place: int) -> Any:
    return values[place] if isinstance(values, list) and place < len(values) else None


def objects(values: Any) -> list[Json]:
    """The objects of a list; anything else is not what was expected there."""
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def index_of(value: Json) -> int:
    index = value.get("index")
    return index if type(index) is int else 0


def plain(value: Any, depth: int = 0) -> Any:
    """A library's object or a JSON value as JSON values without nulls, to a bounded depth."""
    if isinstance(value, list):
        if _SCALARS.issuperset(map(type, value)):
            return value
        return [plain(item, depth + 1) for item in value] if depth < _DEEPEST else None
    fields = value if type(value) is dict else getattr(value, "__dict__", None)
    if fields is None:
        return value
    if depth >= _DEEPEST:
        return None
    fields = {**fields, **(getattr(value, "__pydantic_extra__", None) or {})}
    return {name: plain(item, depth + 1) for name, item in fields.items() if item is not None}


def count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
