"""Mappings to lines of JSON, whatever they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from distilabel_endpoints.rows.decode import BadInputError, json_value

__all__ = ["json_line", "json_text", "valid_text"]

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=json_value).encode
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


def json_line(mapping: Mapping[str, Any]) -> bytes:
    """One JSON object in UTF-8, without a line break; U+FFFD for each lone surrogate."""
    return valid_text(json_text(mapping)).encode()
