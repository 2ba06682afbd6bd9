"""Rows as they were read, beside the table that they become for Ray.

A column of a table has one type. Where no type fits all values, it holds text of JSON, and mappings
get the keys of other rows. What is sent must be what the input holds, so each row of such a table
carries its own values along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from distilabel_endpoints.rows import BadRow, Row
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.rows.json_text import json_text, json_value

__all__ = ["ORIGINAL", "originals", "restored"]

ORIGINAL: Final = "row_original"
"""The column with a row's values as JSON, if the table's types do not hold them as they are."""


def originals(rows: Sequence[Row | BadRow]) -> Any:
    """The column of these rows; null for one that cannot be used."""
    texts = [json_text(dict(row.columns)) if isinstance(row, Row) else None for row in rows]
    pa = pyarrow("a Ray dataset")
    return pa.array(texts, type=pa.string())


def restored(columns: Mapping[str, Any], text: str) -> dict[str, Any]:
    """A row's values as they were read, but for those that a pipeline has changed since.

    Args:
        columns: as the table holds them.
        text: its cell of `ORIGINAL`; nothing is restored from what no reading has written.
    """
    try:
        original = json.loads(text)
    except (ValueError, TypeError):
        return dict(columns)
    if not isinstance(original, dict):
        return dict(columns)
    changed = {
        name: cell
        for name, cell in columns.items()
        if not (_holds(cell, original[name]) if name in original else cell is None)
    }
    return {name: value for name, value in original.items() if name in columns} | changed


def _holds(cell: Any, value: Any) -> bool:
    """Whether `cell` is what a table makes of `value`."""
    if isinstance(cell, str) and cell != value:
        return cell == json.dumps(value, ensure_ascii=False, default=json_value)
    if isinstance(cell, Mapping) and isinstance(value, Mapping):
        extra = cell.keys() - value.keys()
        return all(cell[name] is None for name in extra) and all(
            name in cell and _holds(cell[name], inner) for name, inner in value.items()
        )
    if isinstance(cell, list) and isinstance(value, list):
        return len(cell) == len(value) and all(map(_holds, cell, value))
    return bool(cell == value)
