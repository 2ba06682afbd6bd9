"""A response format that huggingface_hub sends as it is.

For every URL it turns `json_schema` into TGI's dialect, which other servers accept and ignore; it
knows the format by its type's name, also in `extra_body`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_written"]


class _AsWritten(str):
    """A string that equals none, so a library that looks for it leaves it as it is."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return False


def as_written(response_format: Mapping[str, Any]) -> dict[str, Any]:
    """`response_format` so that huggingface_hub sends it unchanged."""
    if response_format.get("type") != "json_schema":
        return dict(response_format)
    return {**response_format, "type": _AsWritten("json_schema")}
