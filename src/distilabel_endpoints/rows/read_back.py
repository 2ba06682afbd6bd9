"""An output, read back into memory as a table."""

from __future__ import annotations

import os
from typing import Any

from distilabel_endpoints.errors import InstallationError
from distilabel_endpoints.rows.sources import open_rows

__all__ = ["to_pandas"]


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
