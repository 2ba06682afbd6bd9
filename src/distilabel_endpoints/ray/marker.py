"""What an output folder records of its run: the settings, and the rows at the start.

The file begins with an underscore, as what is not data does in a folder of Parquet files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints._store.journal.header import Header, refuse_other_spec
from distilabel_endpoints.errors import (
    ConfigurationError,
    DamagedError,
    InputChangedError,
    OutputExistsError,
    StorageError,
)
from distilabel_endpoints.ray.shards import answered_ids
from distilabel_endpoints.ray.source import RowFile, ordinal_of

__all__ = ["Marker", "check_folder", "marker_path", "refuse_lost_rows"]

_NAME: Final = "_distilabel_endpoints.json"
_FILES: Final = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".gz", ".zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """The settings of a run, and the input as it was then."""

    header: Header
    rows: int
    digest: str
    run: Mapping[str, Any] = field(default_factory=dict)
    """What `run_note` says of it; no rows are left out before it has finished."""

    @classmethod
    def of(cls, spec: Mapping[str, Any], file: RowFile, run: Mapping[str, Any]) -> Marker:
        """For a run that begins now."""
        return cls(header=Header.new(spec), rows=file.count, digest=file.digest, run=run)

    @classmethod
    def read(cls, output: Path) -> Marker | None:
        """The marker in `output`; None if nothing was begun.

        Raises:
            DamagedError: it is not what was written.
            StorageError: it cannot be read.
        """
        path = marker_path(output)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            header = Header.decode(document["header"].encode(), bytes.fromhex(document["checksum"]))
            rows, digest = int(document["rows"]), str(document["digest"])
            run = dict(document["run"])
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
        return cls(header=header, rows=rows, digest=digest, run=run)

    @property
    def prefix(self) -> str:
        """Before the names of the columns that the run adds."""
        return str(self.header.spec.get("column_prefix", ""))

    def write(self, output: Path) -> None:
        """Put it into `output`, whole or not at all."""
        value, checksum = self.header.encode()
        document = {
            "header": value.decode(),
            "checksum": checksum.hex(),
            "rows": self.rows,
            "digest": self.digest,
            "run": self.run,
        }
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{output} cannot be made: {error.strerror}.") from error
        with writing(marker_path(output)) as file:
            file.write(json.dumps(document).encode())

    def refuse_other(self, wanted: Marker, output: Path) -> None:
        """Raise `FingerprintError` if the settings are not those of this run."""
        refuse_other_spec(self.header, wanted.header, output)


def refuse_lost_rows(file: RowFile, output: Path, *, prefix: str) -> None:
    """Check that each row that has an answer is in the input, as it was.

    Raises:
        InputChangedError: one is not.
    """
    lost = answered_ids(output, prefix=prefix)
    lost.difference_update(file.ids())
    if lost:
        rows = "1 row" if len(lost) == 1 else f"{len(lost):,} rows"
        first = min(ordinal_of(row, b"") for row in lost) + 1
        limit = f" (the limit is {file.limit:,})" if file.limit is not None else ""
        raise InputChangedError(
            f"{rows} with answers changed or are not in {file.path} any more{limit} (first: row "
            f"{first}), so {output} is left as it is. Put them back as they were, start over with "
            "--fresh (fresh=True in Python), or choose another output."
        )


def marker_path(output: Path) -> Path:
    """Where the marker of an output is."""
    return output / _NAME


def _damaged(path: Path) -> DamagedError:
    return DamagedError(
        f"{path} is damaged, so the files beside it cannot be trusted to be this run's. Use "
        "--fresh to start over, or write to another output."
    )


def check_folder(output: Path) -> None:
    """Raise `ConfigurationError` if `output` cannot be a folder of shards.

    A folder with files that no run wrote is none, as the shards among them would be taken for the
    run's, and removed by one that starts over.
    """
    if output.suffix.lower() in _FILES:
        raise ConfigurationError(
            f"with --ray the output is a folder of Parquet files; {output} looks like a file. "
            f"Give {output.with_suffix('')}, for example."
        )
    if output.exists() and not output.is_dir():
        raise ConfigurationError(f"{output} is a file; with --ray the output is a folder.")
    if output.is_dir() and not marker_path(output).exists():
        strange = next((path.name for path in output.iterdir() if path.name[0] not in "._"), None)
        if strange is not None:
            raise OutputExistsError(
                f"{output} holds files that no run wrote ({strange}, for example). Choose another "
                "folder, or empty it yourself."
            )
