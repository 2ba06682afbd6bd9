"""Learn the Arrow type of columns that come without one, from every value they hold.

A type grows as values are seen: null to anything, integer to float, and mappings gain keys. What
no single type can hold exactly becomes JSON text: mixed types, integers past 64 bits (or past 53
beside floats), mappings without keys or with very many. Each such place is named in a note.
Times with a zone are kept as UTC instants. A place where only nulls were seen is text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.rows.json_text import NO_VALUE, json_value

__all__ = ["Shape"]

_MAX_FIELDS = 256
_MAX_DEPTH = 32
_EXACT_FLOAT = 2**53
_INT64 = 2**63

_KINDS: Final[Mapping[type, str]] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    bytes: "bytes",
    date: "date",
    datetime: "datetime",
    time: "time",
    timedelta: "duration",
    Decimal: "decimal",
    list: "list",
    tuple: "list",
    dict: "struct",
}


def _kind(value: Any) -> str:
    """The kind of a value; empty for one that `json_value` must turn into another.

    `null` is what pandas has for no value.
    """
    kind = _KINDS.get(type(value))
    if kind is None:
        if type(value).__name__ in NO_VALUE:
            return "null"
        kind = next((name for base, name in _KINDS.items() if isinstance(value, base)), "")
    if kind == "datetime" and value.tzinfo is not None:
        return "instant"
    return kind


class Shape:
    """What the values at one place of a column have in common."""

    __slots__ = (
        "_depth",
        "_digits",
        "_fields",
        "_foreign",
        "_item",
        "_kind",
        "_large",
        "_scale",
        "_structs",
        "observed",
    )

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._kind = "null"
        self._fields: dict[str, Shape] = {}
        self._item: Shape | None = None
        self._foreign = False
        self._large = False
        self._digits = self._scale = 0
        self.observed = self._structs = 0

    def observe(self, value: Any) -> None:
        """Take one more value into account."""
        self.observed += 1
        if value is None or self._kind == "json":
            return
        kind = _kind(value)
        if not kind:
            self._foreign = True
            self.observed -= 1
            self.observe(json_value(value))
            return
        if kind == "null":
            self._foreign = True
            return
        if kind != self._kind:
            self._become(kind)
        match kind:
            case "struct":
                self._observe_fields(value)
            case "list":
                self._observe_items(value)
            case "int" if not -_EXACT_FLOAT <= value <= _EXACT_FLOAT:
                self._large = True
                if not -_INT64 <= value < _INT64 or self._kind == "float":
                    self._become("json")
            case "decimal":
                self._observe_decimal(value)
            case _:
                pass

    def _become(self, kind: str) -> None:
        if self._kind == "null" or kind == "json":
            self._kind = kind
        elif {self._kind, kind} == {"int", "float"}:
            self._kind = "json" if self._large else "float"
        else:
            self._kind = "json"

    def _observe_fields(self, value: Mapping[str, Any]) -> None:
        if self._depth >= _MAX_DEPTH:
            self._become("json")
        if self._kind == "json":
            return
        self._structs += 1
        for name, inner in value.items():
            field = self._fields.get(name)
            if field is None:
                if len(self._fields) == _MAX_FIELDS or not isinstance(name, str):
                    self._become("json")
                    return
                field = self._fields[name] = Shape(self._depth + 1)
            field.observe(inner)

    def _observe_items(self, value: list[Any]) -> None:
        if self._depth >= _MAX_DEPTH:
            self._become("json")
        if self._kind == "json":
            return
        item = self._item
        if item is None:
            item = self._item = Shape(self._depth + 1)
        for inner in value:
            item.observe(inner)

    def _observe_decimal(self, value: Decimal) -> None:
        _, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int):  # NaN, Infinity
            self._become("json")
            return
        self._scale = max(self._scale, -exponent)
        self._digits = max(self._digits, len(digits) + exponent)
        if self._digits + self._scale > 76:
            self._become("json")

    @property
    def kind(self) -> str:
        """The kind that holds every value seen; `json` if only text of JSON does."""
        return "json" if self._kind == "struct" and not self._fields else self._kind

    @property
    def plain(self) -> bool:
        """Whether pyarrow takes the values as they are, or refuses them.

        Of mappings it would drop a key that the type has not.
        """
        if self.kind in {"json", "struct"} or self._foreign:
            return False
        return self._item is None or self._item.plain

    def arrow_type(self) -> Any:
        """The `pyarrow.DataType`."""
        pa = pyarrow("Parquet output")
        match self.kind:
            case "list":
                return pa.list_(self._item.arrow_type() if self._item is not None else pa.string())
            case "struct":
                fields = self._fields.items()
                return pa.struct([(name, shape.arrow_type()) for name, shape in fields])
            case "decimal":
                digits = max(1, self._digits + self._scale, self._scale)
                make = pa.decimal128 if digits <= 38 else pa.decimal256
                return make(digits, self._scale)
            case kind:
                return _scalar_types(pa)[kind]

    def encode(self, value: Any) -> Any:
        """A value as pyarrow takes it for `arrow_type()`."""
        if value is None or (self._foreign and _kind(value) == "null"):
            return None
        match self.kind:
            case "json":
                return json.dumps(value, ensure_ascii=False, default=json_value)
            case "struct":
                parts = value if isinstance(value, Mapping) else json_value(value)
                return {name: self._fields[name].encode(inner) for name, inner in parts.items()}
            case "list":
                parts = value if isinstance(value, list | tuple) else json_value(value)
                return [self._item.encode(inner) for inner in parts] if self._item else []
            case _:
                return value if not self._foreign or _kind(value) else json_value(value)

    def encode_all(self, values: list[Any]) -> list[Any]:
        """`encode` for each value, or the values themselves if that changes nothing."""
        return values if self.plain else [self.encode(value) for value in values]

    def padded(self, place: str) -> list[str]:
        """The keys below `place` that not every mapping there has: a type gives them null."""
        if self.kind == "json":
            return []
        places = [] if self._item is None else self._item.padded(f"{place}[]")
        for name, shape in self._fields.items():
            if shape.observed < self._structs:
                places.append(f"{place}.{name}")
            places += shape.padded(f"{place}.{name}")
        return places

    def notes(self, place: str) -> list[str]:
        """One sentence for each place that is written as JSON text."""
        if self.kind == "json":
            return [f"column {place!a} holds values that no one type fits; written as JSON text"]
        noted = [] if self._item is None else self._item.notes(f"{place}[]")
        for name, shape in self._fields.items():
            noted += shape.notes(f"{place}.{name}")
        return noted


def _scalar_types(pa: Any) -> Mapping[str, Any]:
    return {
        "null": pa.string(),
        "json": pa.string(),
        "text": pa.string(),
        "bool": pa.bool_(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bytes": pa.binary(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us"),
        "instant": pa.timestamp("us", tz="UTC"),
        "time": pa.time64("us"),
        "duration": pa.duration("us"),
    }
