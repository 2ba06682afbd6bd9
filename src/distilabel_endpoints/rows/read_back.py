"""An output, read back as a table: mapped where its format allows that, else in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from distilabel_endpoints.errors import InstallationError
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
    rows = open_rows(path)
    columns = rows.columns
    records = [dict(row.columns) for row in rows]
    datasets = datasets_package("a dataset object")
    return datasets.Dataset.from_dict({n: [r.get(n) for r in records] for n in columns})


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
    rows = open_rows(path)
    return pd.DataFrame([dict(row.columns) for row in rows], columns=list(rows.columns) or None)
