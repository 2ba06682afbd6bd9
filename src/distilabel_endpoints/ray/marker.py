"""What an output folder says of the run that it belongs to: settings, and the rows it was begun on.

The file begins with an underscore, as what is no data does in a folder of Parquet files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.journal.header import Header, refuse_other_spec
from distilabel_endpoints.errors import (
    ConfigurationError,
    DamagedError,
    FingerprintError,
    StorageError,
)
from distilabel_endpoints.ray.source import RowFile

__all__ = ["Marker", "check_folder", "marker_path"]

_NAME: Final = "_distilabel_endpoints.json"
_FILES: Final = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".gz", ".zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """The settings of a run, and the input as it was then."""

    header: Header
    rows: int
    digest: str
    skipped: int = 0
    """Rows left out; 0 before a run has finished."""

    @classmethod
    def of(cls, spec: Mapping[str, Any], file: RowFile) -> Marker:
        """For a run that begins now."""
        return cls(header=Header.new(spec), rows=file.count, digest=file.digest)

    @classmethod
    def read(cls, output: Path) -> Marker | None:
        """The marker in `output`; None where nothing was begun.

        Raises:
            DamagedError: it is not what was written.
            StorageError: it cannot be read.
        """
        path = marker_path(output)
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            header = Header.decode(said["header"].encode(), bytes.fromhex(said["checksum"]))
            rows, digest = int(said["rows"]), str(said["digest"])
            skipped = int(said["skipped"])
        except FileNotFoundError:
            return None
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _damaged(path) from None
        if header is None:
            raise _damaged(path)
        return cls(header=header, rows=rows, digest=digest, skipped=skipped)

    @property
    def prefix(self) -> str:
        """Before the names of the columns that the run adds."""
        return str(self.header.spec.get("column_prefix", ""))

    def write(self, output: Path) -> None:
        """Put it into `output`, whole or not at all."""
        value, checksum = self.header.encode()
        said = {
            "header": value.decode(),
            "checksum": checksum.hex(),
            "rows": self.rows,
            "digest": self.digest,
            "skipped": self.skipped,
        }
        beside = output / f".{_NAME}.new"
        try:
            output.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8") as file:
                json.dump(said, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(marker_path(output))
        except OSError as error:
            raise StorageError(f"{output} cannot be written: {error.strerror}.") from error

    def refuse_other(self, wanted: Marker, file: RowFile, output: Path) -> None:
        """Raise `FingerprintError` where the settings or the rows are not those of this run."""
        refuse_other_spec(self.header, wanted.header, output)
        if file.earlier_digest not in {None, self.digest}:
            differences = {"input rows": ("as their results were made", "changed")}
            raise FingerprintError(str(output), differences)


def marker_path(output: Path) -> Path:
    """Where the marker of an output is."""
    return output / _NAME


def _damaged(path: Path) -> DamagedError:
    return DamagedError(
        f"{path} is damaged, so the files beside it cannot be trusted to be this run's. Use "
        "--fresh to start over, or write to another output."
    )


def check_folder(output: Path) -> None:
    """Raise `ConfigurationError` where `output` can be no folder of shards."""
    if output.suffix.lower() in _FILES:
        raise ConfigurationError(
            f"with --ray the output is a folder of Parquet files; {output} looks like a file. "
            f"Give {output.with_suffix('')}, for one."
        )
    if output.exists() and not output.is_dir():
        raise ConfigurationError(f"{output} is a file; with --ray the output is a folder.")
