"""An instance of a JSON schema: small, valid and always the same for the same seed.

Knows the keywords that generation servers know: types, enum, const, references, combinations
(`allOf` merged, the first fitting of `anyOf` and `oneOf`), bounds, formats and patterns. Optional
properties are filled in until the schema nests five deep, so recursive schemas end.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from random import Random
from typing import Any

from distilabel_endpoints.testing.texts.regexes import regex_sample

__all__ = ["schema_instance"]

_DEPTH = 5
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron")
_FORMATS = {
    "date": "2024-05-17",
    "date-time": "2024-05-17T10:30:00Z",
    "duration": "P1D",
    "email": "amber@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "10:30:00Z",
    "uri": "https://example.com/amber",
    "uuid": "0b5c1d9e-6f0a-4c3e-9a51-2f7d8f6f1c11",
}
_KEYWORDS_OF = {
    "properties": "object",
    "required": "object",
    "items": "array",
    "prefixItems": "array",
    "pattern": "string",
    "minLength": "string",
    "maxLength": "string",
    "format": "string",
    "minimum": "number",
    "maximum": "number",
    "multipleOf": "number",
}


def schema_instance(schema: Any, seed: int = 0) -> Any:
    """A value that is valid under `schema`."""
    return _Instances(schema, Random(seed)).of(schema, 0)


class _Instances:
    """One walk through one schema; holds what references point into."""

    def __init__(self, root: Any, rng: Random) -> None:
        self._root = root
        self._rng = rng

    def of(self, schema: Any, depth: int) -> Any:
        """An instance of a part of the schema."""
        if not isinstance(schema, Mapping) or not schema:
            return self._rng.choice(_WORDS)
        schema = self._flat(schema, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._rng.choice(list(schema["enum"]))
        match _type(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number" as kind:
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
            case _:
                return self._string(schema)

    def _flat(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """The schema with its references and combinations merged in."""
        merged = {k: v for k, v in schema.items() if k not in {"$ref", "allOf", "anyOf", "oneOf"}}
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema:
            parts.append(self._pointed(schema["$ref"]))
        for options in (schema.get("anyOf"), schema.get("oneOf")):
            if options:
                parts += [o for o in options if self._fits(o, depth)][:1] or options[:1]
        for part in parts:
            merged = (
                _merged(merged, self._flat(part, depth)) if isinstance(part, Mapping) else merged
            )
        return merged

    @staticmethod
    def _fits(option: Any, depth: int) -> bool:
        """Is it worth taking here: something before the depth is reached, then no reference?"""
        if not isinstance(option, Mapping):
            return True
        return "$ref" not in option if depth >= _DEPTH else option.get("type") != "null"

    def _pointed(self, reference: str) -> Any:
        node = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                node = node[step.replace("~1", "/").replace("~0", "~")]
        return node

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        wanted = dict.fromkeys([*(() if depth >= _DEPTH else properties), *required])
        made = {name: self.of(properties.get(name, {}), depth + 1) for name in wanted}
        rest = schema.get("additionalProperties", {})
        while len(made) < schema.get("minProperties", 0):
            made[f"key{len(made)}"] = self.of(rest if rest is not True else {}, depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        fixed = schema.get("prefixItems", ())
        least = schema.get("minItems", len(fixed))
        wish = max(least, 0 if depth >= _DEPTH else 1)
        size = min(wish, schema.get("maxItems", wish))
        made: list[Any] = []
        for index in range(size):
            item = fixed[index] if index < len(fixed) else schema.get("items", {})
            made.append(self._fresh(item, made, schema.get("uniqueItems", False), depth + 1))
        return made

    def _fresh(self, schema: Any, seen: list[Any], unique: bool, depth: int) -> Any:
        value = self.of(schema, depth)
        for attempt in range(200 if unique else 0):
            if value not in seen:
                break
            value = f"{value}{attempt}" if schema == {"type": "string"} else self.of(schema, depth)
        return value

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> int | float:
        step = schema.get("multipleOf", 1 if whole else None)
        small = step if step is not None else 1e-6
        low = schema.get("minimum")
        if (bound := schema.get("exclusiveMinimum")) is not None:
            low = bound + small if low is None else max(low, bound + small)
        high = schema.get("maximum")
        if (bound := schema.get("exclusiveMaximum")) is not None:
            high = bound - small if high is None else min(high, bound - small)
        if low is None:
            low = 0 if high is None or high >= 0 else high - 10
        if high is None:
            high = low + 10 * max(1, small)
        if step is not None:
            rounds = self._rng.randint(ceil(low / step), max(ceil(low / step), floor(high / step)))
            return int(rounds * step) if whole else rounds * step
        value = low + (high - low) * self._rng.randint(0, 100) / 100
        return float(min(max(value, low), high))

    def _string(self, schema: Mapping[str, Any]) -> str:
        if "pattern" in schema:
            return regex_sample(schema["pattern"], self._rng.randrange(2**32))
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._rng.choice(_WORDS)
        while len(text) < schema.get("minLength", 0):
            text += self._rng.choice(_WORDS)
        return text[: schema.get("maxLength", len(text))]


def _type(schema: Mapping[str, Any], depth: int) -> str:
    named = schema.get("type")
    if isinstance(named, list):
        useful = [name for name in named if name != "null"]
        return str(useful[0]) if useful and depth < _DEPTH else str(named[-1])
    if named is not None:
        return str(named)
    return next((kind for key, kind in _KEYWORDS_OF.items() if key in schema), "string")


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {**other, **one}
    for key in ("properties", "$defs"):
        if key in one and key in other:
            both[key] = {**other[key], **one[key]}
    if "required" in one and "required" in other:
        both["required"] = [*other["required"], *one["required"]]
    return both
