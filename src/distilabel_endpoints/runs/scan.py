"""The first look at an input: which rows are to be done, which cannot be, which have changed.

Nothing has been sent yet. Rows that the journal has as `ok` are passed over unparsed; every other
row is read and turned into its request once, so that whatever is wrong with it is known now.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from distilabel_endpoints._store.journal import Replay, Standing
from distilabel_endpoints.errors import FingerprintError, InputError
from distilabel_endpoints.records import Failure, FailureKind, Result
from distilabel_endpoints.rows import BadReason, BadRow, OutputColumns, Row, RowSource
from distilabel_endpoints.runs.options import RunOptions

__all__ = ["Ids", "Pending", "Scan", "bad_result", "checked", "scan"]

_SHOWN: Final = 10
_SAY_EVERY: Final = 10_000
_MOST_IDS: Final = 1 << 19
_BUCKETS: Final = 256
_ALL_BITS: Final = 2**64 - 1


class Pending:
    """A set of ordinals at one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.count = 0

    def add(self, ordinal: int) -> None:
        byte, bit = divmod(ordinal, 8)
        if byte >= len(self._bits):
            self._bits.extend(bytes(max(byte + 1 - len(self._bits), len(self._bits))))
        self._bits[byte] |= 1 << bit
        self.count += 1

    def __contains__(self, ordinal: int) -> bool:
        byte, bit = divmod(ordinal, 8)
        return byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)


class Ids:
    """Counts rows whose `id` column (text or whole numbers) an earlier row has too.

    Ids are kept as hashes of eight bytes, those of the first `most` rows: later rows are not
    compared. Rows before `counted` are compared with but not counted: an earlier process did.
    """

    def __init__(self, *, counted: int = 0, duplicates: int = 0, most: int = _MOST_IDS) -> None:
        self._known = duplicates
        self._counted = counted
        self._room = most
        # Apart by hash, so that no set of all of them is ever made.
        self._earlier = [array("Q") for _ in range(_BUCKETS)]
        self._later = [array("Q") for _ in range(_BUCKETS)]

    def add(self, row: Row) -> None:
        found = row.columns.get("id")
        if self._room and isinstance(found, str | int):
            self._room -= 1
            key = hash(found) & _ALL_BITS
            half = self._earlier if row.ordinal < self._counted else self._later
            half[key % _BUCKETS].append(key)

    @property
    def duplicates(self) -> int:
        """How many there are, those of earlier processes included. Takes a look at all ids."""
        pairs = zip(self._earlier, self._later, strict=True)
        return self._known + sum(_repeats(earlier, later) for earlier, later in pairs)


def _repeats(earlier: array[int], later: array[int]) -> int:
    seen = set(earlier)
    known = len(seen)
    seen.update(later)
    return len(later) - (len(seen) - known)


@dataclass(slots=True)
class Scan:
    """What an input holds, against what the journal has."""

    total: int = 0
    done: int = 0
    """Rows with an `ok` result."""
    pending: Pending = field(default_factory=Pending)
    bad: list[BadRow] = field(default_factory=list)
    """Rows to be filed as failed: policy `fail`."""
    skipped: int = 0
    changed: int = 0
    first_changed: str = ""


def scan(
    source: RowSource,
    replay: Replay,
    options: RunOptions,
    *,
    check: Callable[[Row], object],
    columns: OutputColumns,
    ids: Ids,
    tell: Callable[[int], None],
    output: str,
) -> Scan:
    """Look at every row once.

    Args:
        check: builds a row's request, and raises `InputError` where that cannot be.
        columns: what the output adds; no row may have one of these names.
        ids: is shown every row that is read.
        tell: called now and then with the rows seen so far.
        output: what is written, for messages.

    Raises:
        ConfigurationError: a row has a column with the name of one of ours.
        FingerprintError: rows that have results are not what they were.
        InputError: a row cannot be sent, and the policy is `stop`.
    """
    found = Scan()
    examples: list[BadRow] = []
    for item in _rows(source, replay, found, options.limit, tell):
        columns.refuse_clash(item.columns)
        if isinstance(item, Row):
            ids.add(item)
        bad = item if isinstance(item, BadRow) else checked(item, check)
        if bad is None:
            found.pending.add(item.ordinal)
        elif options.on_bad_row == "skip":
            found.skipped += 1
        elif options.on_bad_row == "fail":
            found.bad.append(bad)
        elif len(examples) < _SHOWN:
            examples.append(bad)
            found.skipped += 1
        else:
            found.skipped += 1
    if found.changed:
        raise _changed(found, output)
    if examples:
        raise _refused(examples, found.skipped)
    return found


def _rows(
    source: RowSource,
    replay: Replay,
    found: Scan,
    limit: int | None,
    tell: Callable[[int], None],
) -> Iterator[Row | BadRow]:
    """Rows that are not done, up to the limit; what the others are is counted."""

    def is_done(ordinal: int, content_hash: bytes) -> bool:
        if limit is not None and ordinal >= limit:
            return False
        found.total += 1
        if found.total % _SAY_EVERY == 0:
            tell(found.total)
        standing = replay.find(ordinal, content_hash)
        if standing is Standing.OK:
            found.done += 1
            return True
        if standing is Standing.CHANGED:
            found.changed += 1
            found.first_changed = found.first_changed or f"row {ordinal}"
        return False

    for item in source.rows(is_done):
        if limit is not None and item.ordinal >= limit:
            return
        yield item


def checked(row: Row, check: Callable[[Row], object]) -> BadRow | None:
    """`row` as one that cannot be sent, where `check` says so by an `InputError`."""
    try:
        check(row)
    except InputError as error:
        original = row.original if isinstance(row.original, tuple) else None
        return BadRow(
            row.ordinal,
            BadReason.INPUT,
            message=str(error),
            content_hash=row.content_hash,
            place=row.place,
            original=original,
        )
    return None


def _changed(found: Scan, output: str) -> FingerprintError:
    changed = f"{found.changed} changed, the first is {found.first_changed}"
    return FingerprintError(output, {"input rows": ("as their results were made", changed)})


def _refused(examples: list[BadRow], count: int) -> InputError:
    shown = "\n  ".join(bad.describe() for bad in examples)
    more = f"\n  and {count - len(examples)} more" if count > len(examples) else ""
    return InputError(
        f"{count} rows cannot be sent; nothing was:\n  {shown}{more}\n"
        "Mend them, or choose --on-bad-row fail or skip."
    )


def bad_result(bad: BadRow, num_generations: int) -> Result:
    """How a row that cannot be sent stands in the journal and the output."""
    failure = Failure(
        kind=FailureKind.ROW, code=str(bad.reason), message=bad.describe(), retryable=False
    )
    return Result(
        ordinal=bad.ordinal,
        completions=(None,) * num_generations,
        failures=(failure,) * num_generations,
    )
