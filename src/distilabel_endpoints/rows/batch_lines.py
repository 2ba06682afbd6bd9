"""Lines of an OpenAI batch file: `custom_id`, `method`, `url`, `body`.

Rules
- The whole file is checked before the first request: each line by itself, and all of them together
  (no `custom_id` twice, one `url`, one model).
- A body is sent as it is. Only what decides how a line is answered is looked at.
- Memory: eight bytes a line, for the ids.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

from distilabel_endpoints.errors import ConversationError, InputError
from distilabel_endpoints.rows.formats import json_of, plain
from distilabel_endpoints.rows.json_text import quoted
from distilabel_endpoints.rows.model import BadRow, Row, RowSource

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "LINE_COLUMNS",
    "BatchLine",
    "BatchLook",
    "check_batch",
    "is_batch",
    "read_line",
]

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
LINE_COLUMNS: Final = ("custom_id", "method", "url", "body")
_SHOWN: Final = 10
_BUCKETS: Final = 256


def is_batch(names: Sequence[str]) -> bool:
    """Whether columns with these names are lines of a batch file."""
    return {"custom_id", "body"} <= set(names) and bool({"method", "url"} & set(names))


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One request of a batch file."""

    custom_id: str
    url: str
    model: str
    body: Mapping[str, Any] = field(repr=False)


def read_line(columns: Mapping[str, Any]) -> BatchLine:
    """The request that a line holds.

    Raises:
        ConversationError: it is not one that can be sent.
    """
    if missing := sorted(set(LINE_COLUMNS) - columns.keys()):
        raise ConversationError(f"a line of a batch file needs {quoted(missing)}")
    custom_id, body = columns["custom_id"], _body(columns["body"])
    if not isinstance(custom_id, str) or not custom_id:
        raise ConversationError("custom_id must be text, and not empty")
    if columns["method"] != "POST":
        raise ConversationError("method must be POST")
    url = columns["url"]
    if url not in (CHAT, COMPLETIONS):  # not a set: a line may hold what has no hash
        shown = quoted([url]) if isinstance(url, str) else type(url).__name__
        raise ConversationError(f"url is {shown}; only {CHAT} and {COMPLETIONS} can be answered")
    _check_body(body, url)
    return BatchLine(custom_id, url, body["model"], body)


def _body(value: Any) -> Mapping[str, Any]:
    value = json_of(value) if isinstance(value, str) else plain(value)
    if not isinstance(value, Mapping):
        raise ConversationError(f"body must be a JSON object, not {type(value).__name__}")
    return value


def _check_body(body: Mapping[str, Any], url: str) -> None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise ConversationError("body.model must name the model")
    for name in ("stream", "stream_options"):
        if body.get(name):
            raise ConversationError(f"body.{name} is set, and a batch file has no streams")
    for name, least in (("n", 1), ("max_tokens", 1), ("seed", 0)):
        value = body.get(name)
        if value is not None and (type(value) is not int or value < least):
            raise ConversationError(f"body.{name} must be an integer >= {least}")
    if url == COMPLETIONS:
        if not isinstance(body.get("prompt"), str):
            raise ConversationError("body.prompt must be one text; write a line for each prompt")
    else:
        _check_messages(body.get("messages"))


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise ConversationError("body.messages must be a list of messages, and not empty")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ConversationError(f"body.messages[{index}] must be an object with a role")


@dataclass(slots=True)
class BatchLook:
    """What a batch file that can be sent asks for, all lines together."""

    url: str = CHAT
    model: str | None = None
    """None for a file without lines."""


def check_batch(source: RowSource, limit: int | None = None) -> BatchLook:
    """Look at every line of a batch file once, or of its first `limit` lines.

    Raises:
        InputError: lines cannot be sent; the message says which, and why.
    """
    look, ids, problems = BatchLook(), _Ids(), _Problems()
    for item in islice(source, limit):
        if isinstance(item, BadRow):
            problems.add(item, item.message)
            continue
        try:
            _take(item, look, ids)
        except InputError as error:
            problems.add(item, str(error))
    if ids.has_repeats:
        for row, message in _repeated(islice(source, limit), ids):
            problems.add(row, message)
    problems.raise_any(source)
    return look


def _take(row: Row, look: BatchLook, ids: _Ids) -> None:
    line = read_line(row.columns)
    if look.model is None:
        look.url, look.model = line.url, line.model
    ids.add(line.custom_id)
    if line.url != look.url:
        raise ConversationError(f"url is {line.url}, and {look.url} before; a file has one")
    if line.model != look.model:
        raise ConversationError(
            f"body.model is {quoted([line.model])}, and {quoted([look.model])} before; "
            "a file has one"
        )


class _Ids:
    """Whether an id came twice, by hashes of eight bytes."""

    def __init__(self) -> None:
        # Apart by hash, so that no set of all of them is ever made.
        self._hashes = [array("Q") for _ in range(_BUCKETS)]

    def add(self, custom_id: str) -> None:
        number = _number(custom_id)
        self._hashes[number % _BUCKETS].append(number)

    @property
    def has_repeats(self) -> bool:
        """Whether two have one hash."""
        return any(len(set(hashes)) < len(hashes) for hashes in self._hashes)

    def repeats(self) -> frozenset[int]:
        """The hashes that came more than once."""
        repeated: set[int] = set()
        for hashes in self._hashes:
            seen: set[int] = set()
            for number in hashes:
                (repeated if number in seen else seen).add(number)
        return frozenset(repeated)


def _number(custom_id: str) -> int:
    digest = blake2b(custom_id.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest)


def _repeated(items: Iterator[Row | BadRow], ids: _Ids) -> Iterator[tuple[Row, str]]:
    """The lines whose id an earlier line has."""
    repeats, first = ids.repeats(), dict[str, Row]()
    for item in items:
        custom_id = item.columns.get("custom_id")
        if not isinstance(item, Row) or not isinstance(custom_id, str):
            continue
        if _number(custom_id) in repeats:
            earlier = first.setdefault(custom_id, item)
            if earlier.ordinal != item.ordinal:
                where = f"line {earlier.place.line}"
                if earlier.place.file != item.place.file:
                    where = str(earlier.place)
                yield item, f"custom_id {quoted([custom_id])} is that of {where}, too"


class _Problems:
    """Lines that cannot be sent: the first of them, and how many there are."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str]] = []
        self._count = 0

    def add(self, row: Row | BadRow, message: str) -> None:
        self._count += 1
        if len(self._lines) < _SHOWN:
            self._lines.append((row.ordinal, f"{row.place}: {message}"))

    def raise_any(self, source: RowSource) -> None:
        """Raise `InputError` if there are some."""
        if not self._count:
            return
        lines = [line for _, line in sorted(self._lines)]
        if self._count > len(lines):
            lines.append(f"and {self._count - len(lines):,} more")
        listed = "\n  ".join(lines)
        what = "1 line" if self._count == 1 else f"{self._count:,} lines"
        raise InputError(
            f"{what} of {source.describe()} cannot be sent, so no request was:\n  {listed}\n"
            "A batch file is sent whole: correct it, and run the same command again."
        )
