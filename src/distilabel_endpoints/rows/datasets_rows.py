"""The one door to `datasets`: hub datasets as a stream, saved folders, objects in memory.

Rows are taken in Arrow form, so images and audio stay the bytes or paths they are stored as and
nothing is decoded. A hub dataset is streamed, never downloaded whole; no code from it is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from distilabel_endpoints.errors import ConfigurationError, InputError, InstallationError
from distilabel_endpoints.rows.arrow import arrow_rows, rows_per_batch
from distilabel_endpoints.rows.intake import Intake, ReadOptions
from distilabel_endpoints.rows.model import BadRow, Row, RowSource, Skip

__all__ = [
    "ArrowSource",
    "HubAddress",
    "datasets_package",
    "hub_address",
    "is_saved",
    "open_dataset",
    "open_hub",
    "open_saved",
    "open_table",
]

_PREFIX = "hf://datasets/"
_ADDRESS = re.compile(
    r"(?P<path>[^/@:]+/[^/@:]+)(?:@(?P<revision>[^/:]+))?(?:/(?P<config>[^:]+))?(?::(?P<split>.+))?"
)
_STREAM_BATCH = 128


def datasets_package(purpose: str) -> Any:
    """The `datasets` package.

    Raises:
        InstallationError: It is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise InstallationError(
            f"{purpose} needs the package datasets, which is not installed: "
            'pip install "distilabel-endpoints[datasets]"'
        ) from None
    return datasets


class ArrowSource(RowSource):
    """Rows of Arrow record batches that can be made anew for each pass."""

    def __init__(
        self,
        name: str,
        batches: Callable[[], Iterator[Any]],
        options: ReadOptions,
        *,
        schema: Any = None,
        count: int | None = None,
    ) -> None:
        self._name = name
        self._batches = batches
        self._options = options
        self._schema = schema
        self._count = count

    def describe(self) -> str:
        return self._name

    @property
    def schema(self) -> Any:
        return self._schema

    @property
    def count_hint(self) -> int | None:
        return self._count

    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        intake = Intake(self._options, skip)
        line = 1
        for batch in self._batches():
            yield from arrow_rows(batch, intake, self._name, line)
            line += batch.num_rows


@dataclass(frozen=True, slots=True)
class HubAddress:
    """`hf://datasets/owner/name[@revision][/config][:split]`, taken apart."""

    path: str
    config: str | None = None
    _: KW_ONLY
    split: str = "train"
    revision: str | None = None


def hub_address(source: str) -> HubAddress | None:
    """The parts of an `hf://datasets/` address; `None` for anything else.

    Raises:
        ConfigurationError: It starts like one and is none.
    """
    if not source.startswith("hf://"):
        return None
    match = _ADDRESS.fullmatch(source.removeprefix(_PREFIX))
    if match is None or not source.startswith(_PREFIX):
        raise ConfigurationError(
            f"{source} is no dataset address: "
            "write hf://datasets/OWNER/NAME[@REVISION][/CONFIG][:SPLIT]"
        )
    return HubAddress(
        match["path"],
        match["config"],
        split=match["split"] or "train",
        revision=match["revision"],
    )


def open_hub(name: str, address: HubAddress, options: ReadOptions) -> RowSource:
    """A dataset of the Hub as a stream; also a local folder of data files, by its path.

    Raises:
        ConfigurationError: There is no such dataset, configuration or split, or no connection.
    """
    datasets = datasets_package("a dataset of the Hub")
    try:
        stream = datasets.load_dataset(
            address.path,
            name=address.config,
            split=address.split,
            revision=address.revision,
            streaming=True,
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigurationError(f"cannot open {name}: {reason}") from error
    return open_dataset(stream, options, name=name)


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` made this folder."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def open_saved(folder: Path, options: ReadOptions) -> RowSource:
    """A dataset from the folder it was saved in, memory-mapped.

    Raises:
        ConfigurationError: The folder holds several splits.
        InputError: It cannot be loaded.
    """
    datasets = datasets_package("a saved dataset")
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise ConfigurationError(
            f"{folder} holds a dataset for each split; give one of "
            + ", ".join(str(folder / split) for split in splits)
        )
    try:
        dataset = datasets.load_from_disk(str(folder), keep_in_memory=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} is not a whole saved dataset: {error}") from error
    return open_dataset(dataset, options, name=str(folder))


def open_dataset(dataset: Any, options: ReadOptions, *, name: str | None = None) -> RowSource:
    """A `datasets.Dataset` or `IterableDataset`.

    Raises:
        ConfigurationError: It is a dictionary of splits.
    """
    datasets = datasets_package("a dataset object")
    if isinstance(dataset, dict):
        splits = ", ".join(sorted(map(str, dataset)))
        raise ConfigurationError(f"a dataset for each split was given; choose one of {splits}")
    features = dataset.features
    size, count = _STREAM_BATCH, None
    if isinstance(dataset, datasets.Dataset):
        count = len(dataset)
        size = rows_per_batch(dataset.data.nbytes, max(1, len(dataset.data)))
    name = name or f"{type(dataset).__name__} object"
    return ArrowSource(
        name,
        lambda: _batches(dataset, size, name),
        options,
        schema=features.arrow_schema if features is not None else None,
        count=count,
    )


def _batches(dataset: Any, size: int, name: str) -> Iterator[Any]:
    failures = datasets_package("a dataset object").exceptions.DatasetsError
    try:
        for table in dataset.with_format("arrow").iter(batch_size=size):
            yield from table.to_batches(max_chunksize=size)
    except (OSError, ValueError, failures) as error:
        raise InputError(f"{name} cannot be read to its end: {error}") from error


def open_table(table: Any, options: ReadOptions) -> RowSource:
    """A `pyarrow.Table`."""
    size = rows_per_batch(table.nbytes, max(1, table.num_rows))
    return ArrowSource(
        "Table object",
        lambda: iter(table.to_batches(max_chunksize=size)),
        options,
        schema=table.schema,
        count=table.num_rows,
    )
