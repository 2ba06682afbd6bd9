"""The one door to `datasets`: saved folders, objects in memory, streams.

Rows are taken in Arrow form, so images and audio stay the bytes or paths they are stored as and
nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError, InputError, InstallationError
from distilabel_endpoints.rows.arrow import ArrowSource, rows_per_batch
from distilabel_endpoints.rows.intake import Intake, ReadOptions
from distilabel_endpoints.rows.model import BadRow, Place, Row, RowSource, Skip

__all__ = [
    "ObjectSource",
    "datasets_package",
    "is_saved",
    "open_dataset",
    "open_saved",
]

_STREAM_BATCH: Final = 128


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
    """A `datasets.Dataset` or `IterableDataset`, as iterating it shows it.

    A transform, columns that were chosen with a format, and a stream without types are read through
    the object itself. Everything else is read in Arrow form.

    Raises:
        ConfigurationError: It is a dictionary of splits.
    """
    datasets = datasets_package("a dataset object")
    if isinstance(dataset, dict):
        splits = ", ".join(f"[{split!r}]" for split in sorted(map(str, dataset)))
        raise ConfigurationError(f"a dataset for each split was given; choose one: {splits}")
    name = name or f"{type(dataset).__name__} object"
    features = dataset.features
    whole = isinstance(dataset, datasets.Dataset)
    if features is None or (whole and dataset.format["type"] == "custom"):
        return ObjectSource(name, dataset, options, count=len(dataset) if whole else None)
    if not whole and not _streams_arrow(dataset):
        # In Arrow form each example would have its own type, and the first null another.
        undecoded = dataset.with_format(None).decode(False)
        return ObjectSource(name, undecoded, options, schema=features.arrow_schema)
    size, count = _STREAM_BATCH, None
    if whole:
        shown = dataset.format["columns"]
        if shown != dataset.column_names and not dataset.format["output_all_columns"]:
            dataset = dataset.select_columns(shown)
            features = dataset.features
        count = len(dataset)
        size = rows_per_batch(dataset.data.nbytes, max(1, len(dataset.data)))
    return ArrowSource(
        name,
        lambda: _batches(dataset, size, name),
        options,
        schema=features.arrow_schema,
        count=count,
    )


def _streams_arrow(stream: Any) -> bool:
    """Whether a stream comes as Arrow tables; it has no public word for that."""
    examples = getattr(stream, "_ex_iterable", None)
    if examples is not None and getattr(examples, "iter_arrow", None) is None:
        return False
    while examples is not None:
        if hasattr(examples, "ex_iterables"):  # several streams, whose tables may differ
            return False
        examples = getattr(examples, "ex_iterable", None)
    return True


class ObjectSource(RowSource):
    """The rows that iterating a dataset gives, with the types that their values have."""

    def __init__(
        self,
        name: str,
        dataset: Any,
        options: ReadOptions,
        *,
        count: int | None = None,
        schema: Any = None,
    ) -> None:
        self._name = name
        self._dataset = dataset
        self._options = options
        self._count = count
        self._schema = schema

    @property
    def schema(self) -> Any:
        return self._schema

    def describe(self) -> str:
        return self._name

    @property
    def count_hint(self) -> int | None:
        return self._count

    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        intake = Intake(self._options, skip)
        with _reading(self._name):
            for line, item in enumerate(self._dataset, 1):
                row = intake.mapping(item, Place(self._name, line))
                if row is not None:
                    yield row


def _batches(dataset: Any, size: int, name: str) -> Iterator[Any]:
    with _reading(name):
        for table in dataset.with_format("arrow").iter(batch_size=size):
            yield from table.to_batches(max_chunksize=size)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    failures = datasets_package("a dataset object").exceptions.DatasetsError
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, failures) as error:
        raise InputError(f"{name} cannot be read to its end: {error}") from error
