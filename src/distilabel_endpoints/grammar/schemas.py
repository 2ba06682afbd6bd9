"""JSON schemas: what is accepted, what is sent, and the validator of answers.

Rules. A schema is checked against its dialect's meta-schema when it is given. References stay
inside the schema; nothing is ever fetched. Its patterns are matched in bounded time. Property
order is kept, for constrained decoders write properties in the order of the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from distilabel_endpoints.errors import SchemaError
from distilabel_endpoints.grammar.patterns import PatternError, matcher
from distilabel_endpoints.grammar.strict_json import compact, read_json

__all__ = [
    "is_strict",
    "property_names",
    "read_schema",
    "sendable",
    "subschemas",
    "title",
    "unwrapped",
    "validator",
]

MAX_SCHEMA_BYTES: Final = 262_144
MAX_SCHEMA_DEPTH: Final = 64
WHERE: Final = "structured_output.schema"

_BACKTRACK_LIMIT: Final = 100_000
"""Steps that look-around in a pattern may take: some 30 ms, then the answer does not match."""
_INSTANCES: Final = frozenset({"const", "default", "enum", "example", "examples"})
_NAMED: Final = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_STRICT: Final = frozenset(
    {"$defs", "$ref", "additionalProperties", "anyOf", "const", "definitions", "description"}
    | {"enum", "exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems", "maximum"}
    | {"minItems", "minimum", "multipleOf", "pattern", "properties", "required", "title", "type"}
)
_STRICT_FORMATS: Final = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)
_KEYWORDS: Final = _STRICT | frozenset(
    {"$anchor", "$comment", "$dynamicRef", "$id", "$recursiveRef", "$schema", "additionalItems"}
    | {"allOf", "contains", "contentEncoding", "contentMediaType", "contentSchema", "default"}
    | {"dependencies", "dependentRequired", "dependentSchemas", "deprecated", "else", "examples"}
    | {"if", "maxContains", "maxLength", "maxProperties", "minContains", "minLength"}
    | {"minProperties", "not", "oneOf", "patternProperties", "prefixItems", "propertyNames"}
    | {"readOnly", "then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems", "writeOnly"}
)


def read_schema(schema: Any) -> str:
    """The compact JSON text of a schema given as a mapping, JSON text or pydantic model class.

    Raises:
        SchemaError: naming what is wrong, where, and how to fix it.
    """
    return _checked(_text(schema))


@lru_cache(maxsize=64)
def _checked(text: str) -> str:
    """Rows may each carry a schema, most often the same one, and checking one takes a while."""
    if len(text.encode(errors="replace")) > MAX_SCHEMA_BYTES:
        raise SchemaError(f"{WHERE}: larger than {MAX_SCHEMA_BYTES:,} bytes; split the task")
    try:
        text.encode()
        schema = read_json(text, MAX_SCHEMA_DEPTH)
    except UnicodeEncodeError:
        raise SchemaError(f"{WHERE}: holds half a surrogate pair; write real characters") from None
    except ValueError as exc:
        raise SchemaError(f"{WHERE}: {exc}") from None
    if not isinstance(schema, dict):
        raise SchemaError(f"{WHERE}: a JSON schema is an object, not {type(schema).__name__}")
    schema = unwrapped(schema)
    if schema and _KEYWORDS.isdisjoint(schema):
        raise SchemaError(
            f"{WHERE}: none of its keys ({', '.join(schema)[:80]}) is a keyword of JSON Schema, so "
            "any answer would fit. Give a schema such as {'type': 'object', 'properties': ...}."
        )
    _check_references(schema)
    _check_dialect(schema)
    return compact(schema)


def unwrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema in what OpenAI's and TGI's `response_format` put around it."""
    for key, beside in (
        ("json_schema", {"type"}),
        ("schema", {"name", "strict", "description", "type"}),
        ("value", {"type"}),
    ):
        if isinstance(schema.get(key), dict) and schema.keys() - {key} <= beside:
            return unwrapped(schema[key])
    return schema


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and every object schema in it, not the instances in `enum` and the like."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        yield node
        for keyword, value in node.items():
            if keyword in _NAMED and isinstance(value, dict):
                waiting.extend(value.values())
            elif keyword not in _INSTANCES:
                waiting.extend(value if isinstance(value, list) else [value])


def property_names(schema: Any) -> frozenset[str]:
    """Every property name the schema itself spells out."""
    return frozenset(
        name
        for node in subschemas(schema)
        if isinstance(properties := node.get("properties"), dict)
        for name in properties
    )


def title(schema: Mapping[str, Any]) -> str:
    """A name for APIs that want one: the title, in the letters OpenAI allows, at most 64."""
    wanted = schema.get("title")
    letters = wanted if isinstance(wanted, str) else ""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in letters)
    return name[:64] or "answer"


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Is it in the part of JSON Schema that OpenAI's `strict` mode takes?

    Every object closed, every property required, a reference alone, and no keyword or format but
    those of https://platform.openai.com/docs/guides/structured-outputs (supported schemas).
    """
    return schema.get("type") == "object" and all(map(_is_strict_node, subschemas(schema)))


def _is_strict_node(node: Mapping[str, Any]) -> bool:
    if not node.keys() <= _STRICT or ("$ref" in node and len(node) > 1):
        return False
    if "format" in node and node["format"] not in _STRICT_FORMATS:
        return False
    return "object" not in _listed(node.get("type")) or (
        node.get("additionalProperties") is False
        and set(node.get("required", ())) == set(node.get("properties", ()))
    )


def sendable(text: str) -> dict[str, Any]:
    """The schema as it is sent, so that servers understand it and both clients send the same.

    - `const: null` becomes `enum: [null]` and `default: null` goes: huggingface_hub drops every
      key whose value is `None`, at any depth, and `{"const": null}` would arrive as anything.
    - Patterns with look-around go (pydantic writes one for `Decimal`): constraining engines have
      none, and refuse the whole schema. The answer is checked against them all the same.
    """
    schema: dict[str, Any] = read_json(text, MAX_SCHEMA_DEPTH)
    for node in subschemas(schema):
        if "const" in node and node["const"] is None and "enum" not in node:
            node["enum"] = [node.pop("const")]
        if "default" in node and node["default"] is None:
            del node["default"]
        if isinstance(node.get("pattern"), str) and not _is_regular(node["pattern"]):
            del node["pattern"]
    return schema


def _is_regular(pattern: str) -> bool:
    try:
        matcher(pattern)
    except PatternError:
        return False
    return True


def validator(schema: Mapping[str, Any]) -> Any:
    """A `jsonschema_rs` validator that fetches nothing and matches patterns in bounded time.

    Raises:
        jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError: it is not a schema.
    """
    import jsonschema_rs

    return jsonschema_rs.validator_for(
        dict(schema),
        validate_formats=False,
        offline=True,
        pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
    )


def _text(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    if isinstance(schema, type) and callable(export := getattr(schema, "model_json_schema", None)):
        schema = export()
    if not isinstance(schema, Mapping):
        raise SchemaError(
            f"{WHERE}: expected a JSON schema as a dict, as JSON text or as a pydantic model "
            f"class, not {type(schema).__name__}"
        )
    try:
        return compact(dict(schema))
    except RecursionError:
        raise SchemaError(f"{WHERE}: nested deeper than {MAX_SCHEMA_DEPTH} levels") from None
    except (TypeError, ValueError) as exc:
        raise SchemaError(f"{WHERE}: cannot be written as JSON: {exc}") from None


def _check_dialect(schema: dict[str, Any]) -> None:
    import jsonschema_rs

    if not isinstance(schema.get("$schema", ""), str):
        raise SchemaError(f"{WHERE}: $schema must be a URI, or be left out for draft 2020-12")
    try:
        validator(schema)
    except jsonschema_rs.ValidationError as exc:
        at = "/".join(map(str, exc.instance_path))
        raise SchemaError(f"{WHERE}: invalid at #/{at}: {exc.message[:200]}") from None
    except (jsonschema_rs.ReferencingError, ValueError) as exc:
        reason = str(exc).splitlines()[0][:200]
        raise SchemaError(f"{WHERE}: it cannot be used: {reason}") from None


def _check_references(schema: dict[str, Any]) -> None:
    for node in subschemas(schema):
        if node is not schema and isinstance(node.get("$id"), str):
            raise SchemaError(f"{WHERE}: an $id inside the schema is not supported; remove it")
        for reference in _references(node):
            if not reference.startswith("#"):
                raise SchemaError(
                    f"{WHERE}: the reference {reference!r} leaves the schema and nothing is "
                    f"fetched; copy what it names under $defs and refer to '#/$defs/...'"
                )
            _check_loop(schema, node, reference)


def _references(node: Any) -> list[str]:
    if not isinstance(node, dict):
        return []
    return [value for key in _REFERENCES if isinstance(value := node.get(key), str)]


def _check_loop(root: dict[str, Any], node: Any, reference: str) -> None:
    """Refuse references that lead back to themselves without consuming anything."""
    seen, following = [node], reference
    while True:
        target = _pointed(root, following)
        if any(target is step for step in seen):
            raise SchemaError(f"{WHERE}: the reference {reference!r} only leads back to itself")
        seen.append(target)
        onward = [value for value in _references(target) if value.startswith("#")]
        if not onward:
            return
        following = onward[0]


def _pointed(root: dict[str, Any], reference: str) -> Any:
    """What `#` or `#/a/b` names; `None` for an anchor, which has no other reference in it."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    place: Any = root
    for step in unquote(reference[2:]).split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        try:
            place = place[int(key)] if isinstance(place, list) else place[key]
        except (LookupError, TypeError, ValueError):
            raise SchemaError(
                f"{WHERE}: the reference {reference!r} names nothing in the schema"
            ) from None
    return place


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
