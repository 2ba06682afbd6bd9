"""Datasets of the Hub: their addresses, and their rows as a stream.

A dataset is streamed, never downloaded whole; no code from it is run. The Hub is asked
first, as `datasets` takes half a minute to report a Hub that does not answer.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows.datasets_rows import datasets_package, open_dataset
from distilabel_endpoints.rows.folders import format_of
from distilabel_endpoints.rows.intake import ReadOptions
from distilabel_endpoints.rows.model import RowSource

__all__ = ["HubAddress", "hub_address", "hub_name", "open_hub"]

_PREFIX: Final = "hf://datasets/"
_BARE: Final = re.compile(r"(?P<owner>[\w-][\w.-]*)/[\w-][\w.-]*(@[^/:]+)?(:.+)?")
_ADDRESS: Final = re.compile(
    r"(?P<path>[^/@:]+/[^/@:]+)(?:@(?P<revision>[^/:]+))?(?:/(?P<rest>[^:]+))?"
    r"(?::(?P<split>.+))?"
)
_SPLIT: Final = re.compile(r"(?P<name>[\w.+-]+)(?P<slice>\[(?P<start>\d*)%?:(?P<stop>\d*)%?\])?")
_ANSWER_WITHIN: Final = 15.0
"""Seconds in which the Hub must say whether it has a dataset."""


@dataclass(frozen=True, slots=True)
class HubAddress:
    """`hf://datasets/owner/name[@revision][/config or file][:split[from:to]]`, taken apart."""

    path: str
    config: str | None = None
    _: KW_ONLY
    file: str | None = None
    """A file or pattern in the repository, instead of a configuration."""
    split: str = "train"
    rows: slice | None = None
    percent: bool = False
    """Whether `rows` counts in hundredths of the split."""
    revision: str | None = None


def hub_name(source: str) -> str | None:
    """The full address of a dataset of the Hub; `None` for anything else.

    `OWNER/NAME` is one if there is no such path here and nothing looks like one.
    """
    if source.startswith("hf://"):
        return source
    match = _BARE.fullmatch(source)
    if match is None or Path(source).exists() or Path(match["owner"]).exists():
        return None
    return None if format_of(PurePath(source)) else f"{_PREFIX}{source}"


def hub_address(name: str) -> HubAddress:
    """The parts of an `hf://datasets/` address.

    Raises:
        ConfigurationError: It is not one.
    """
    match = _ADDRESS.fullmatch(name.removeprefix(_PREFIX))
    split = _SPLIT.fullmatch((match and match["split"]) or "train")
    if match is None or split is None or not name.startswith(_PREFIX):
        raise ConfigurationError(
            f"{name} is not a dataset address: write "
            "hf://datasets/OWNER/NAME[@REVISION][/CONFIG or FILE][:SPLIT], with a slice as in "
            "train[:100] or train[10%:20%]"
        )
    rest = match["rest"]
    is_file = rest is not None and (
        format_of(PurePath(rest)) is not None or any(mark in rest for mark in "*?")
    )
    return HubAddress(
        match["path"],
        None if is_file else rest,
        file=rest if is_file else None,
        split=split["name"],
        rows=_slice(split) if split["slice"] else None,
        percent="%" in (split["slice"] or ""),
        revision=match["revision"],
    )


def _slice(split: re.Match[str]) -> slice:
    start, stop = split["start"], split["stop"]
    return slice(int(start) if start else None, int(stop) if stop else None)


def open_hub(source: str, options: ReadOptions) -> RowSource:
    """A dataset of the Hub as a stream.

    Args:
        source: What `hub_name` takes for one.
        options: How rows are read.

    Raises:
        ConfigurationError: There is no such dataset, configuration or split, or no connection.
        InstallationError: `datasets` is not installed.
    """
    address = hub_address(hub_name(source) or source)
    datasets = datasets_package("a dataset of the Hub")
    here = "" if source.startswith(_PREFIX) else "there is no such path here, and "
    reason = _absence(address, datasets.config.HF_ENDPOINT)
    if reason is not None:
        raise ConfigurationError(f"cannot open {source}: {here}{reason}")
    try:
        stream = datasets.load_dataset(
            f"{_PREFIX}{address.path}",  # with the prefix a folder of that name here is not it
            name=address.config,
            data_files=address.file,
            split=address.split,
            revision=address.revision,
            streaming=True,
        )
    except (OSError, ValueError) as error:
        line = str(error).strip().split("\n")[0]
        raise ConfigurationError(f"cannot open {source}: {line}") from error
    if address.rows is not None:
        stream = _sliced(stream, address, source)
    return open_dataset(stream, options, name=source)


def _absence(address: HubAddress, hub: str) -> str | None:
    """Why the Hub does not have a dataset for us; `None` if it may have it."""
    from httpx2 import RequestError
    from huggingface_hub import HfApi, errors

    try:
        HfApi(endpoint=hub).dataset_info(
            address.path, revision=address.revision, timeout=_ANSWER_WITHIN
        )
    except errors.RevisionNotFoundError:
        return f"the dataset on the Hub has no revision {address.revision!r}"
    except errors.GatedRepoError:
        return f"the dataset is gated: ask for access at {hub}/datasets/{address.path}"
    except errors.RepositoryNotFoundError:
        return "the Hub has no such dataset, or it is private: then set HF_TOKEN"
    except errors.HFValidationError:
        return "this cannot be the name of a dataset on the Hub"
    except errors.OfflineModeIsEnabled:
        return "the Hub is not asked, as HF_HUB_OFFLINE is set"
    except (RequestError, OSError) as error:
        if isinstance(error, errors.HfHubHTTPError):
            return None  # it is there, and `datasets` tries again
        return f"the Hub at {hub} cannot be reached: {str(error) or type(error).__name__}"
    return None


def _sliced(stream: Any, address: HubAddress, name: str) -> Any:
    assert address.rows is not None
    start, stop = address.rows.start or 0, address.rows.stop
    if address.percent:
        known = (stream.info.splits or {}).get(address.split)
        if known is None or not known.num_examples:
            raise ConfigurationError(
                f"{name}: the number of rows is not known, so there is no percentage of it; "
                "give row numbers, as in train[:1000]"
            )
        start = round(start * known.num_examples / 100)
        stop = None if stop is None else round(stop * known.num_examples / 100)
    stream = stream.skip(start) if start else stream
    return stream if stop is None else stream.take(max(0, stop - start))
