"""The first look at an input: which rows are to be done, which cannot be, which have changed.

Nothing has been sent yet. Rows that the journal has as `ok` are passed over unparsed; every other
row is read and turned into its request once, so that whatever is wrong with it is known now.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from distilabel_endpoints._store.journal import Replay, RowStatus
from distilabel_endpoints.errors import InputChangedError, InputError
from distilabel_endpoints.records import Failure, FailureKind, Result
from distilabel_endpoints.rows import BadReason, BadRow, OutputColumns, Row, RowSource
from distilabel_endpoints.runs.options import RunOptions

__all__ = [
    "Ids",
    "Pending",
    "Scan",
    "bad_result",
    "changed_meanwhile",
    "checked",
    "none_fit",
    "refused",
    "scan",
]

_SHOWN: Final = 10
_SHOWN_OF_ALL: Final = 3
_REPORT_EVERY: Final = 10_000
# Eight bytes an id: 4 MB at most.
_MOST_IDS: Final = 1 << 19
# Compared bucket by bucket, so the set in memory holds a 256th of the ids.
_BUCKETS: Final = 256
_ALL_BITS: Final = 2**64 - 1


class Pending:
    """A set of rows at one byte each: enough to tell soon that the input is being rewritten."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.count = 0

    def add(self, ordinal: int, content_hash: bytes) -> None:
        """Add the row `ordinal`, whose content has `content_hash`."""
        if ordinal >= len(self._bytes):
            # At least doubled, so that a long input is not copied once a row.
            self._bytes.extend(bytes(max(ordinal + 1 - len(self._bytes), len(self._bytes))))
        self._bytes[ordinal] = _print(content_hash)
        self.count += 1

    def __contains__(self, ordinal: int) -> bool:
        return ordinal < len(self._bytes) and self._bytes[ordinal] != 0

    def matches(self, ordinal: int, content_hash: bytes) -> bool:
        """Whether a row of this content was added; of 255 changed rows one passes."""
        return ordinal in self and self._bytes[ordinal] == _print(content_hash)


def _print(content_hash: bytes) -> int:
    # Never 0, which stands for a row that is not pending.
    return content_hash[0] % 255 + 1


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
        row_id = row.columns.get("id")
        if self._room and isinstance(row_id, str | int):
            self._room -= 1
            key = hash(row_id) & _ALL_BITS
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
    """Rows to be recorded as failed: policy `fail`."""
    skipped: int = 0
    examples: list[BadRow] = field(default_factory=list)
    """The first rows that cannot be sent, whatever becomes of them."""
    changed: int = 0
    """Rows that are not what they were when they were answered."""
    first_changed: int = -1


def scan(
    source: RowSource,
    replay: Replay,
    options: RunOptions,
    *,
    check: Callable[[Row], object],
    columns: OutputColumns,
    ids: Ids,
    on_rows_read: Callable[[int], None],
    output: str,
    answered: int,
) -> Scan:
    """Look at every row once.

    Args:
        check: builds a row's request, and raises `InputError` if that cannot be.
        columns: what the output adds; no row may have one of these names.
        ids: is shown every row that is read.
        on_rows_read: called now and then with the number of rows read so far.
        output: what is written, for messages.
        answered: rows before the limit that have an `ok` result.

    Raises:
        ConfigurationError: a row has a column with the name of one of ours.
        InputChangedError: rows that have answers are not what they were, or not there any more.
        InputError: a row cannot be sent and the policy is `stop`, or none can.
    """
    scanned = Scan()
    for item in _rows(source, replay, scanned, options.limit, on_rows_read):
        columns.refuse_clash(item.columns)
        if isinstance(item, Row):
            ids.add(item)
        bad = item if isinstance(item, BadRow) else checked(item, check)
        if bad is None:
            scanned.pending.add(item.ordinal, item.content_hash)
        else:
            _put_aside(scanned, bad, options)
    _refuse_changed(scanned, answered, source, output)
    if scanned.examples and options.on_bad_row == "stop":
        raise refused(scanned.examples, scanned.skipped)
    if scanned.examples and not scanned.done and not scanned.pending.count:
        raise none_fit(scanned, source)
    return scanned


def _put_aside(scanned: Scan, bad: BadRow, options: RunOptions) -> None:
    if len(scanned.examples) < _SHOWN:
        scanned.examples.append(bad)
    if options.on_bad_row == "fail":
        scanned.bad.append(bad)
    else:
        scanned.skipped += 1


def _refuse_changed(scanned: Scan, answered: int, source: RowSource, output: str) -> None:
    way_out = (
        f"so nothing was sent and {output} is left as it was. Put them back as they were, start "
        "over with --fresh (fresh=True in Python), or choose another output."
    )
    if scanned.changed:
        raise InputChangedError(
            f"{_number(scanned.changed)} with answers changed in {source.describe()} since the run "
            f"began (first: row {scanned.first_changed + 1}), {way_out}"
        )
    # Gone from the end: rows that go from the middle shift those after them, which have changed.
    missing = answered - scanned.done
    if missing > 0:
        raise InputChangedError(
            f"{source.describe()} holds {_number(scanned.total)}, and {_number(missing)} with "
            f"answers are not in it any more, {way_out}"
        )


def changed_meanwhile(source: RowSource) -> InputChangedError:
    """The error for rows that are not those of the first look."""
    return InputChangedError(
        f"{source.describe()} was changed while the run was reading it, so nothing more was sent. "
        "What was answered is in the journal: put the rows back as they were and run the same "
        "command again."
    )


def _number(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


def _rows(
    source: RowSource,
    replay: Replay,
    scanned: Scan,
    limit: int | None,
    on_rows_read: Callable[[int], None],
) -> Iterator[Row | BadRow]:
    """Rows that are not done, up to the limit; what the others are is counted."""

    def is_done(ordinal: int, content_hash: bytes) -> bool:
        # False: the source hands the row out, and the loop below ends there.
        if limit is not None and ordinal >= limit:
            return False
        scanned.total += 1
        if scanned.total % _REPORT_EVERY == 0:
            on_rows_read(scanned.total)
        standing = replay.find(ordinal, content_hash)
        if standing is RowStatus.OK:
            scanned.done += 1
            return True
        if standing is RowStatus.CHANGED:
            scanned.changed += 1
            if scanned.first_changed < 0:
                scanned.first_changed = ordinal
        return False

    for item in source.rows(is_done):
        if limit is not None and item.ordinal >= limit:
            return
        yield item


def checked(row: Row, check: Callable[[Row], object]) -> BadRow | None:
    """`row` as one that cannot be sent, if `check` says so by an `InputError`."""
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


def refused(examples: list[BadRow], count: int) -> InputError:
    """The error for rows that cannot be sent, with the policy `stop`."""
    return InputError(
        f"{_number(count)} cannot be sent, so no request was sent:\n  {_listed(examples, count)}\n"
        "Fix them, or choose --on-bad-row fail or skip."
    )


def none_fit(scanned: Scan, source: RowSource) -> InputError:
    """The error for an input of which no row can be sent."""
    shown = _listed(scanned.examples[:_SHOWN_OF_ALL], scanned.total)
    return InputError(
        f"none of the {_number(scanned.total)} of {source.describe()} can be sent, so no "
        f"request was sent:\n  {shown}"
    )


def _listed(examples: list[BadRow], count: int) -> str:
    more = [f"and {count - len(examples):,} more"] if count > len(examples) else []
    return "\n  ".join([*(bad.describe() for bad in examples), *more])


def bad_result(bad: BadRow, num_generations: int) -> Result:
    """How a row that cannot be sent stands in the journal and the output."""
    failure = Failure(
        kind=FailureKind.ROW, code=str(bad.reason), message=bad.describe(), retryable=False
    )
    return Result(
        ordinal=bad.ordinal,
        completions=(None,) * num_generations,
        failures=(failure,) * num_generations,
        key=bad.content_hash,
    )
