"""The one place where a record becomes a `Row` or a `BadRow`: ordinal, hash, checks.

One `Intake` belongs to one pass over a source; every reader of the pass hands its records to it
and yields what comes back that is not `None` (`None`: the caller skips the row).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from distilabel_endpoints.config import MAX_ROW_MB
from distilabel_endpoints.rows.json_text import (
    IF_LATIN_1,
    BadInputError,
    canonical,
    columns_of,
    readable_columns,
    storable_columns,
)
from distilabel_endpoints.rows.lines import Frame, Oversize
from distilabel_endpoints.rows.model import (
    ArrowCells,
    BadReason,
    BadRow,
    Place,
    Row,
    Skip,
)

__all__ = ["Intake", "ReadOptions", "hashed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """The limits and checks of every reader."""

    max_row_bytes: int = MAX_ROW_MB << 20


def hashed(content: bytes, key: bytes = b"") -> bytes:
    """The content hash of a row's bytes."""
    return blake2b(content, digest_size=16, key=key).digest()


class Intake:
    """Counts, hashes and checks the records of one pass."""

    def __init__(self, options: ReadOptions, skip: Skip | None = None) -> None:
        self.options = options
        self._skip = skip
        self._ordinal = -1

    def frames(self, frames: Iterator[Frame], file: str) -> Iterator[Row | BadRow]:
        """Records that are the text of one JSON object each, in their frames."""
        skip = self._skip
        for line, offset, raw in frames:
            if isinstance(raw, Oversize):
                bad = self.oversize(raw, Place(file, line, offset))
                if bad is not None:
                    yield bad
                continue
            self._ordinal = ordinal = self._ordinal + 1
            digest = blake2b(raw, digest_size=16).digest()
            if skip is None or not skip(ordinal, digest):
                yield self._json(ordinal, raw, digest, Place(file, line, offset))

    def _json(self, ordinal: int, raw: bytes, digest: bytes, place: Place) -> Row | BadRow:
        try:
            columns = columns_of(raw)
        except BadInputError as error:
            return _bad_row(ordinal, error, digest, place, columns=readable_columns(raw))
        return Row(ordinal, columns, content_hash=digest, place=place, original=raw)

    def text(self, columns: dict[str, Any], raw: bytes, place: Place) -> Row | BadRow | None:
        """A record that is a prompt and nothing else, but for `columns` of its file."""
        digest = hashed(raw)
        try:
            prompt = raw.decode()
        except UnicodeDecodeError as error:
            columns["prompt"] = raw.decode(errors="replace")
            message = f"not UTF-8 at byte {error.start} of the line{IF_LATIN_1}"
            refusal = BadInputError(BadReason.INPUT, message)
            return self.bad(refusal, digest, place, columns=columns)
        return self.columns({"prompt": prompt, **columns}, digest, place)

    def mapping(
        self, columns: Any, place: Place, original: ArrowCells | None = None
    ) -> Row | BadRow | None:
        """A record that is columns already."""
        kept: Mapping[str, Any] = {}
        try:
            if not isinstance(columns, Mapping):
                kind = type(columns).__name__
                raise BadInputError(BadReason.INPUT, f"a row is a mapping of columns, not {kind}")
            kept = columns
            encoded = canonical(columns)
        except BadInputError as error:
            digest, kept = hashed(b"%d" % place.line), storable_columns(kept)
            return self.bad(error, digest, place, columns=kept, original=original)
        digest = hashed(encoded)
        if len(encoded) > self.options.max_row_bytes:
            refusal = self._too_large(len(encoded))
            return self.bad(refusal, digest, place, columns=columns, original=original)
        return self.columns(columns, digest, place, original)

    def columns(
        self,
        columns: Mapping[str, Any],
        digest: bytes,
        place: Place,
        original: ArrowCells | None = None,
    ) -> Row | BadRow | None:
        """A record that is columns already, and was hashed by its reader."""
        self._ordinal = ordinal = self._ordinal + 1
        if self._skip is not None and self._skip(ordinal, digest):
            return None
        return Row(ordinal, columns, content_hash=digest, place=place, original=original)

    def oversize(
        self, frame: Oversize, place: Place, columns: Mapping[str, Any] | None = None
    ) -> BadRow | None:
        """A record that is too large, and may never have been held."""
        kept = readable_columns(frame.head) if columns is None else columns
        return self.bad(self._too_large(frame.size), frame.content_hash, place, columns=kept)

    def bad(
        self,
        error: BadInputError,
        digest: bytes,
        place: Place,
        *,
        columns: Mapping[str, Any] | None = None,
        original: ArrowCells | None = None,
    ) -> BadRow | None:
        """A record that its reader refuses; `columns` are what can be read of it all the same."""
        self._ordinal = ordinal = self._ordinal + 1
        if self._skip is not None and self._skip(ordinal, digest):
            return None
        return _bad_row(ordinal, error, digest, place, columns=columns or {}, original=original)

    def _too_large(self, size: int) -> BadInputError:
        cap = self.options.max_row_bytes
        return BadInputError(
            BadReason.TOO_LARGE,
            f"the row has {size:,} bytes; at most {cap:,} are read (--max-row-mb, max_row_mb)",
        )


def _bad_row(
    ordinal: int,
    error: BadInputError,
    digest: bytes,
    place: Place,
    *,
    columns: Mapping[str, Any],
    original: ArrowCells | None = None,
) -> BadRow:
    return BadRow(
        ordinal,
        error.reason,
        message=error.message,
        content_hash=digest,
        place=place,
        columns=columns,
        original=original,
    )
