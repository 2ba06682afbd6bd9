"""An output, read back as a table: mapped if its format allows that, else in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from distilabel_endpoints.errors import InputError, InstallationError
from distilabel_endpoints.rows.datasets_rows import datasets_package
from distilabel_endpoints.rows.sources import open_rows
from distilabel_endpoints.rows.tables import MAPPED, map_dataset

__all__ = ["to_dataset", "to_pandas"]


def to_dataset(path: str | os.PathLike[str]) -> Any:
    """An output of any format, or a folder of shards, as a `datasets.Dataset`.

    `.arrow` and `.parquet` are memory-mapped; of other formats the rows are held in memory.

    Raises:
        InputError: It cannot be read, or holds a type that `datasets` has not.
        InstallationError: `datasets` is not installed.
    """
    if Path(path).suffix.lower() in MAPPED and Path(path).is_file():
        return map_dataset(path)
    datasets = datasets_package("a dataset object")
    records, names = _records(path)
    try:
        return datasets.Dataset.from_dict({n: [r.get(n) for r in records] for n in names})
    except (ValueError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} has a column whose values have no type in common: {reason}. Write Parquet, "
            "which stores such a column as JSON text"
        ) from error


def to_pandas(path: str | os.PathLike[str]) -> Any:
    """An output of any format, or a folder of shards, as a `pandas.DataFrame`.

    Raises:
        InstallationError: `pandas` is not installed.
        InputError: It cannot be read.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise InstallationError("to_pandas() needs pandas: pip install pandas") from error
    records, names = _records(path)
    return pd.DataFrame(records, columns=names or None)


def _records(path: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows, and every column that any of them has, in order of appearance."""
    rows = open_rows(path)
    records = [dict(row.columns) for row in rows]
    names = dict.fromkeys(name for record in records for name in record)
    return records, list(names or rows.columns)
