"""JSON schemas: what is accepted, what is sent, and the validator of answers.

Rules. A schema is checked against its dialect's meta-schema when it is given. References stay
inside the schema; nothing is ever fetched. Its patterns are matched in linear time. Property
order is kept, for constrained decoders write properties in the order of the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from distilabel_endpoints.errors import SchemaError
from distilabel_endpoints.grammar.patterns import PatternError, matcher
from distilabel_endpoints.grammar.strict_json import compact, read_json

__all__ = ["is_closed", "property_names", "read_schema", "sendable", "title", "validator"]

MAX_SCHEMA_BYTES: Final = 262_144
MAX_SCHEMA_DEPTH: Final = 64
WHERE: Final = "structured_output.schema"

_INSTANCES: Final = frozenset({"const", "default", "enum", "example", "examples"})
_NAMED: Final = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_OPEN: Final = frozenset(
    {"allOf", "dependentRequired", "dependentSchemas", "else", "if", "not", "oneOf"}
    | {"patternProperties", "propertyNames", "then"}
)


def read_schema(given: Any) -> str:
    """The compact JSON text of a schema given as a mapping, JSON text or pydantic model class.

    Raises:
        SchemaError: naming what is wrong, where, and how to mend it.
    """
    return _checked(_text(given))


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
    _check_dialect(schema)
    _check_references(schema)
    _check_patterns(schema)
    return compact(schema)


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
    given = schema.get("title")
    letters = given if isinstance(given, str) else ""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in letters)
    return name[:64] or "answer"


def is_closed(schema: Mapping[str, Any]) -> bool:
    """Does it meet OpenAI's `strict` mode: every object closed, every property required?"""
    return schema.get("type") == "object" and all(
        _OPEN.isdisjoint(node)
        and (
            "object" not in _listed(node.get("type"))
            or (
                node.get("additionalProperties") is False
                and set(node.get("required", ())) == set(node.get("properties", ()))
            )
        )
        for node in subschemas(schema)
    )


def sendable(text: str) -> dict[str, Any]:
    """The schema as it is sent: `const: null` is said as `enum: [null]`.

    huggingface_hub drops every key whose value is `None` from what it sends, at any depth,
    so that `{"const": null}` would arrive as `{}`: anything.
    """
    schema: dict[str, Any] = read_json(text, MAX_SCHEMA_DEPTH)
    for node in subschemas(schema):
        if "const" in node and node["const"] is None and "enum" not in node:
            node["enum"] = [node.pop("const")]
    return schema


def validator(schema: Mapping[str, Any]) -> Any:
    """A `jsonschema` validator that fetches nothing and matches patterns in linear time."""
    from jsonschema.validators import Draft202012Validator, extend, validator_for
    from referencing import Registry

    dialect = validator_for(schema, default=Draft202012Validator)
    linear = {
        "additionalProperties": _additional_properties,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
    }
    checked = extend(dialect, linear)  # type: ignore[no-untyped-call]
    return checked(schema, registry=Registry())


def _text(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, type) and callable(export := getattr(given, "model_json_schema", None)):
        given = export()
    if not isinstance(given, Mapping):
        raise SchemaError(
            f"{WHERE}: expected a JSON schema as a dict, as JSON text or as a pydantic model "
            f"class, not {type(given).__name__}"
        )
    try:
        return compact(dict(given))
    except RecursionError:
        raise SchemaError(f"{WHERE}: nested deeper than {MAX_SCHEMA_DEPTH} levels") from None
    except (TypeError, ValueError) as exc:
        raise SchemaError(f"{WHERE}: cannot be written as JSON: {exc}") from None


def _check_dialect(schema: dict[str, Any]) -> None:
    from jsonschema.exceptions import SchemaError as DialectError
    from jsonschema.validators import Draft202012Validator, validator_for

    if not isinstance(schema.get("$schema", ""), str):
        raise SchemaError(f"{WHERE}: $schema must be a URI, or be left out for draft 2020-12")
    dialect = validator_for(schema, default=Draft202012Validator)
    try:
        dialect.check_schema(schema)
    except DialectError as exc:
        at = "/".join(map(str, exc.absolute_path))
        raise SchemaError(f"{WHERE}: invalid at #/{at}: {exc.message[:200]}") from None


def _check_references(schema: dict[str, Any]) -> None:
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    dialect = validator_for(schema, default=Draft202012Validator)
    resource = specification_with(str(dialect.META_SCHEMA["$schema"])).create_resource(schema)
    resolver = Registry().resolver_with_root(resource)
    for node in subschemas(schema):
        if node is not schema and isinstance(node.get("$id"), str):
            raise SchemaError(f"{WHERE}: an $id inside the schema is not supported; remove it")
        for reference in _references(node):
            if not reference.startswith("#"):
                raise SchemaError(
                    f"{WHERE}: the reference {reference!r} leaves the schema and nothing is "
                    f"fetched; copy what it names under $defs and refer to '#/$defs/...'"
                )
            try:
                target = resolver.lookup(reference).contents
            except Unresolvable:
                raise SchemaError(
                    f"{WHERE}: the reference {reference!r} names nothing in the schema"
                ) from None
            _check_loop(node, target, reference, resolver.lookup)


def _references(node: Any) -> list[str]:
    if not isinstance(node, dict):
        return []
    return [value for key in _REFERENCES if isinstance(value := node.get(key), str)]


def _check_loop(node: Any, target: Any, reference: str, lookup: Callable[[str], Any]) -> None:
    """Refuse references that lead back to themselves without consuming anything."""
    seen = [node]
    while not any(target is step for step in seen):
        seen.append(target)
        onward = _references(target)
        if not onward or not onward[0].startswith("#"):
            return
        target = lookup(onward[0]).contents
    raise SchemaError(f"{WHERE}: the reference {reference!r} only leads back to itself")


def _check_patterns(schema: dict[str, Any]) -> None:
    for node in subschemas(schema):
        keyed = node.get("patternProperties", {})
        if keyed and "unevaluatedProperties" in node:
            raise SchemaError(
                f"{WHERE}: patternProperties beside unevaluatedProperties cannot be checked; "
                f"use additionalProperties"
            )
        for pattern in [*keyed, node.get("pattern", "")]:
            try:
                matcher(pattern)
            except PatternError as exc:
                raise SchemaError(
                    f"{WHERE}: the pattern {pattern!r:.200} cannot be enforced: {exc}"
                ) from None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if validator.is_type(instance, "string") and not matcher(pattern)(instance):
        yield ValidationError("pattern")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any
) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, schema in patterns.items():
        for name, value in instance.items():
            if matcher(pattern)(name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, extra: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not validator.is_type(instance, "object"):
        return
    patterns = [matcher(pattern) for pattern in schema.get("patternProperties", ())]
    for name, value in instance.items():
        if name in schema.get("properties", ()) or any(match(name) for match in patterns):
            continue
        if extra is False:
            yield ValidationError("additionalProperties")
        else:
            yield from validator.descend(value, extra, path=name)
