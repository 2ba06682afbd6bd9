"""JSON text to a row's columns, strictly, and any columns to their canonical JSON.

Strict means: UTF-8, one object, each key once, no `NaN` or `Infinity` (RFC 8259 has none), no lone
surrogate. NUL is allowed. What JSON has no type for is written as text: dates and times as ISO
8601, durations as seconds, decimals and UUIDs as text, bytes as base64, arrays as lists.

Mappings to lines of JSON, whatever they hold.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import singledispatch
from pathlib import PurePath
from typing import Any, Final, NoReturn
from uuid import UUID

from distilabel_endpoints.rows.model import BadReason

__all__ = [
    "IF_LATIN_1",
    "NO_VALUE",
    "BadInputError",
    "canonical",
    "columns_of",
    "is_missing",
    "json_line",
    "json_text",
    "json_value",
    "quoted",
    "readable_columns",
    "storable_columns",
    "valid_text",
]

IF_LATIN_1: Final = "; if it is Latin-1, convert it: iconv -f WINDOWS-1252 -t UTF-8"

_SURROGATE = re.compile("[\ud800-\udfff]")


def valid_text(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate, which UTF-8 cannot encode."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def json_text(value: Any) -> str:
    """JSON of any value that can be stored. NaN and the infinities, which JSON lacks, are null."""
    try:
        return _encode(value)
    except BadInputError:
        raise
    except ValueError:
        with_nan = json.dumps(value, default=json_value)
        return _encode(json.loads(with_nan, parse_constant=lambda _: None))


class BadInputError(ValueError):
    """A row that cannot be used; becomes a `BadRow` when its place is known."""

    def __init__(self, reason: BadReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def _bad(message: str) -> BadInputError:
    return BadInputError(BadReason.INPUT, message)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _bad(f"key {twice[:80]!a} appears twice in one object")
    return mapping


def _constant(name: str) -> NoReturn:
    raise _bad(f"{name} is not JSON; write null")


# The scanner itself: `decode()` around it searches white space that framing has removed.
_decoder: Any = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)
_scan = _decoder.scan_once
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def columns_of(raw: bytes) -> dict[str, Any]:
    """The columns of one JSON object, without white space around it.

    Raises:
        BadInputError: It is not a JSON object that UTF-8 can carry.
    """
    try:
        text = raw.decode()
        value, end = _scan(text, 0)
    except BadInputError:
        raise
    except UnicodeDecodeError as error:
        raise _bad(f"not UTF-8 at byte {error.start} of the row{IF_LATIN_1}") from None
    except StopIteration as error:
        what = f"a value is missing at character {error.value}" if error.value else _NO_OBJECT
        raise _bad(f"not JSON: {what}") from None
    except json.JSONDecodeError as error:
        raise _bad(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise _bad("nested too deeply") from None
    except ValueError:
        raise _bad("a number has too many digits") from None
    if end != len(text):
        raise _bad(_after_value(text[end:].strip(), end))
    if type(value) is not dict:
        what = _JSON_NAMES[type(value)]
        more = f"; write {_AS_ROW[type(value)]}" if type(value) in _AS_ROW else ""
        raise _bad(f"a row is a JSON object, not {what}{more}")
    if _SURROGATE_ESCAPE.search(raw):
        _refuse_surrogates(value)
    return value


_NO_OBJECT: Final = 'a row is an object on one line, as in {"prompt": ...}'
_AS_ROW: Final[Mapping[type, str]] = {str: '{"prompt": ...}', list: '{"messages": ...}'}


def _after_value(rest: str, end: int) -> str:
    if rest == ",":
        return "not JSON Lines: a comma follows the object; remove it, or put the lines in [ ]"
    if rest.startswith("{"):
        return "not JSON Lines: several objects on one line; put each on its own: jq -c ."
    return f"not JSON: more text after the value at character {end}"


_LENIENT: Any = json.JSONDecoder(strict=False)
_MEMBER = re.compile(r'[ \t\r\n]*(?=")')
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*,")


def readable_columns(raw: bytes) -> dict[str, Any]:
    """What can be read of a row that `columns_of` refuses, or of a row's beginning.

    `NaN` stays a number, of a key that appears twice the last value counts, U+FFFD stands for what
    is not UTF-8, and behind the place where it stops being JSON nothing is read.
    """
    text = raw.decode(errors="replace").strip()
    try:
        value = _LENIENT.decode(text)
    except (ValueError, RecursionError):
        value = dict(_members(text))
    if not isinstance(value, dict):
        return {}
    columns: dict[str, Any] = _valid(value)
    return columns


def _members(text: str) -> Iterator[tuple[str, Any]]:
    """The members of an object, as far as they can be read."""
    position = 1 if text.startswith("{") else len(text)
    try:
        while member := _MEMBER.match(text, position):
            name, end = _LENIENT.raw_decode(text, member.end())
            colon = _COLON.match(text, end)
            if colon is None:
                return
            value, end = _LENIENT.raw_decode(text, colon.end())
            comma = _COMMA.match(text, end)
            if end == len(text) and type(value) in (int, float):
                return  # more digits may have followed
            yield name, value
            if comma is None:
                return
            position = comma.end()
    except (ValueError, RecursionError):
        return


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, list):
        return [_valid(inner) for inner in value]
    if isinstance(value, dict):
        return {valid_text(str(name)): _valid(inner) for name, inner in value.items()}
    return value


def storable_columns(columns: Mapping[Any, Any]) -> dict[str, Any]:
    """Those of `columns` that an output can hold."""
    kept = {}
    for name, value in columns.items():
        if isinstance(name, str):
            try:
                canonical({"value": _valid(value)})
                kept[valid_text(name)] = _valid(value)
            except (TypeError, ValueError, RecursionError):
                continue
    return kept


_JSON_NAMES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


NO_VALUE: Final = frozenset({"NAType", "NaTType"})
"""What pandas calls the types of its values that stand for none."""


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: null, and what pandas has for it (NaN, NA, NaT)."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in NO_VALUE


@singledispatch
def json_value(value: Any) -> Any:
    """What stands in JSON for a value that JSON has no type for (`default=` of an encoder).

    Raises:
        BadInputError: Nothing does.
    """
    if is_missing(value):
        return None
    if getattr(getattr(value, "dtype", None), "kind", "") in {"M", "m"}:  # NumPy's times
        return _of_times(value)
    if hasattr(value, "tolist"):  # NumPy and PyTorch: arrays and scalars
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    raise _bad(
        f"a {type(value).__name__} cannot be stored; "
        "give text, numbers, booleans, bytes, dates, lists or mappings"
    )


def _of_times(value: Any) -> Any:
    """Times of NumPy, or columns of pandas: ISO 8601; seconds for durations; null for NaT."""
    if value.shape:
        return [json_value(inner) for inner in value]  # of pandas these are its own times
    if str(value) == "NaT":
        return None
    return str(value) if value.dtype.kind == "M" else value / type(value)(1, "s")


@json_value.register(datetime)
@json_value.register(date)
@json_value.register(time)
def _(value: datetime | date | time) -> str | None:
    return None if is_missing(value) else value.isoformat()


@json_value.register
def _(value: timedelta) -> float:
    return value.total_seconds()


@json_value.register(Decimal)
@json_value.register(UUID)
def _(value: Decimal | UUID) -> str:
    return str(value)


@json_value.register(bytes)
@json_value.register(bytearray)
@json_value.register(memoryview)
def _(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode("ascii")


@json_value.register(Mapping)
def _(value: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(value)


_encode_canonical = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=json_value
).encode


def canonical(columns: Mapping[str, Any]) -> bytes:
    """The row as JSON with sorted keys: what is hashed, and whose length counts.

    Raises:
        BadInputError: A name is not text, or a value has no place in JSON or UTF-8.
    """
    for name in columns:
        if not isinstance(name, str):
            raise _bad(f"column names are text, not {type(name).__name__}")
    try:
        return _encode_canonical(columns if type(columns) is dict else dict(columns)).encode()
    except UnicodeEncodeError:
        _refuse_surrogates(columns)
        raise
    except BadInputError:
        raise _blame(columns) from None
    except RecursionError:
        raise _bad("nested too deeply") from None
    except TypeError:
        raise _bad("the keys of a mapping are not all text") from None
    except ValueError:
        raise _bad("a value holds itself, or a number has too many digits") from None


def _blame(columns: Mapping[str, Any]) -> BadInputError:
    """The first column with a value that has no place in JSON, named."""
    for name, value in columns.items():
        try:
            _encode_canonical(value)
        except BadInputError as error:
            return _bad(f"column {name[:80]!a}: {error.message}")
        except (TypeError, ValueError, RecursionError):
            continue
    raise AssertionError("some column was refused")


def _refuse_surrogates(columns: Mapping[str, Any]) -> None:
    for name, value in columns.items():
        try:
            name.encode()
            json.dumps(value, ensure_ascii=False, default=json_value).encode()
        except UnicodeEncodeError:
            raise BadInputError(
                BadReason.SURROGATE,
                f"column {name[:80]!a} holds a lone surrogate, which UTF-8 cannot encode",
            ) from None
        except RecursionError:
            raise _bad("nested too deeply") from None


def quoted(names: Iterable[str]) -> str:
    """Column names for a message: the first twenty, quoted, ASCII."""
    listed = [f"{name[:80]!a}" for name in names]
    more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
    return (", ".join(listed[:20]) or "none") + more


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=json_value).encode


def json_line(mapping: Mapping[str, Any]) -> bytes:
    """One JSON object in UTF-8, without a line break; U+FFFD for each lone surrogate."""
    return valid_text(json_text(mapping)).encode()
