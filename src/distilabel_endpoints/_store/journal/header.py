"""What a journal says about the run it belongs to: the spec, when it was made, and by what.

The spec is the run's fingerprint, field by field, so that a mismatch can be named. It is stored in
the clear beside the output: the caller puts neither a secret nor a prompt in it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeGuard

from distilabel_endpoints.errors import DamagedError, FingerprintError, StorageError

__all__ = ["FORMAT", "Header", "is_sealed", "refuse_other_spec", "sealed", "unreadable"]

FORMAT: Final = 1
"""Raised when an older version could misread what this one writes."""

_DIGEST_BYTES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The one document of a journal that is not a result."""

    spec: Mapping[str, Any]
    created: str
    """UTC, ISO 8601."""
    versions: Mapping[str, str]
    format: int = FORMAT

    @classmethod
    def new(cls, spec: Mapping[str, Any]) -> Header:
        """A header for a run that begins now. `spec` holds JSON values only."""
        return cls(
            # As it will be read: tuples are lists there, and keys are text.
            spec=json.loads(json.dumps(spec)),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={"distilabel-endpoints": _own_version(), "python": platform.python_version()},
        )

    def encode(self) -> tuple[bytes, bytes]:
        """The document and its checksum."""
        document = {
            "format": self.format,
            "created": self.created,
            "versions": dict(self.versions),
            "spec": dict(self.spec),
        }
        value = json.dumps(document, sort_keys=True).encode()
        return value, sealed(value)

    @classmethod
    def decode(cls, value: object, checksum: object) -> Header | None:
        """The header in `value`, or `None` if that is not what was written."""
        if not is_sealed(value, checksum):
            return None
        document = json.loads(value)
        if document["format"] > FORMAT:
            raise StorageError(
                f"The journal has format {document['format']} and this version reads up to "
                f"{FORMAT}. Upgrade distilabel-endpoints, or write to another output."
            )
        return cls(**document)


def sealed(value: bytes) -> bytes:
    """The checksum of a document outside the results."""
    return blake2b(value, digest_size=_DIGEST_BYTES).digest()


def is_sealed(value: object, checksum: object) -> TypeGuard[bytes]:
    """Whether `value` is a document that was written with `checksum`."""
    return isinstance(value, bytes) and sealed(value) == checksum


def refuse_other_spec(header: Header, wanted: Header, path: Path) -> None:
    """Raise `FingerprintError` with every field in which the two specs differ."""
    differences = dict(_differences(header.spec, wanted.spec))
    if differences:
        raise FingerprintError(path.name.removesuffix(".journal"), differences)


def unreadable(path: Path) -> DamagedError:
    """The error for a journal that cannot prove which run it belongs to."""
    return DamagedError(
        f"{path} is not a journal, or does not show which run it belongs to, as it is damaged. "
        "So its results may not be this run's. Use --fresh to start over (the file is kept "
        "with '.damaged' added to its name), or write to another output."
    )


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str, str]]]:
    for field in sorted({*old, *new}):
        before, now = (
            json.dumps(spec[field], sort_keys=True) if field in spec else "absent"
            for spec in (old, new)
        )
        if before != now:
            yield field, (before, now)


def _own_version() -> str:
    try:
        return version("distilabel-endpoints")
    except PackageNotFoundError:
        return "unknown"
