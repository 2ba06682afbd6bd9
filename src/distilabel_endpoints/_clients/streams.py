"""Streams: server-sent events out of bytes, and one answer out of events.

The only reader of events: the client libraries' own lose what some servers send. The transport
feeds a `Stream` while a client library still waits for the body; the library sees none of it.

What counts as an event
- Lines end at LF, CR or CRLF and nowhere else: U+2028 and its kin stand in JSON as they are.
- A `data:` line that is JSON by itself is an event at once, with or without an empty line after it;
  other ones join until an empty line. Comments, `id:`, `retry:`, empty and plain-text data keep a
  connection alive, and are skipped.
- A body that does not begin like events is given back: servers answer a stream request with whole
  JSON, with pages and with nothing. If it is not an answer, it is read as events without their
  marks: a JSON value on each line, or all in a list.
- Bytes that are not UTF-8 are kept until texts are joined: a character cut in two by two events is
  whole again then.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from distilabel_endpoints._clients.answers import (
    Form,
    Json,
    answer_of,
    as_call,
    call_arguments,
    chat_logprobs,
    completion_of,
    contents_of,
    index_of,
    objects,
    reason_in,
    string,
    tgi_logprobs,
    unwrapped,
)
from distilabel_endpoints._clients.error_text import error_in, why_blocked
from distilabel_endpoints._clients.finish_reasons import finish_reason
from distilabel_endpoints._clients.usage import count, summed, usage_in
from distilabel_endpoints.records import Answer, Completion, Usage

__all__ = ["Events", "Stream", "StreamError", "answer_in"]

_MARK: Final = b"\xef\xbb\xbf"
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
_DONE: Final = "[DONE]"
_DONE_LENGTH: Final = len(_DONE)
_ESCAPED: Final = re.compile("[\udc80-\udcff]+")
"""Bytes that are not UTF-8, as Python's `surrogateescape` keeps them."""


class StreamError(Exception):
    """An error among the events; `args[0]` is what the server says of it."""


class Events:
    """Feed it a body's pieces, and take the JSON values of its events."""

    def __init__(self) -> None:
        self.is_done = False
        """Whether the server has said that no more comes."""
        self.is_readable = True
        """False once an event was not JSON: an answer without it would have a hole."""
        self.has_foreign_bytes = False
        """Whether some bytes were not UTF-8; the values hold them as `surrogateescape` does."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line: list[str] = []
        self._after_cr = False
        self._kind = ""
        self._data: list[str] = []

    def feed(self, piece: bytes, *, last: bool = False) -> list[Any]:
        """The events that this piece completes."""
        values: list[Any] = []
        for line in self._lines(self._decoded(piece, last)):
            self._read(line, values)
        if last:
            # What is not complete here was cut off; it is not an event, nor nonsense.
            self._read("".join(self._line), values)
            self._join(values, is_whole=False)
        return values

    def _decoded(self, piece: bytes, last: bool) -> str:
        try:
            return self._decoder.decode(piece, last)
        except UnicodeDecodeError:
            self.has_foreign_bytes = True
            self._decoder.errors = "surrogateescape"
            return self._decoder.decode(piece, last)

    def _lines(self, text: str) -> list[str]:
        if self._after_cr and text:
            text = text.removeprefix("\n")
            self._after_cr = False
        if "\r" in text:
            self._after_cr = text.endswith("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        first, *lines = text.split("\n")
        self._line.append(first)
        if not lines:
            return []
        lines.insert(0, "".join(self._line))
        self._line = [lines.pop()]
        return lines

    def _read(self, line: str, values: list[Any]) -> None:
        if line.startswith("data:"):
            self._read_data(line[5:].strip(), values)
        elif not line:
            self._join(values)
            self._kind = ""
        elif line.startswith("event:"):
            self._kind = line[6:].strip()
        elif line.startswith("{") and (value := _loaded(line)) is not None:
            self._add(value, values)  # a whole body after comments

    def _read_data(self, data: str, values: list[Any]) -> None:
        # Some send it in quotes; it is taken in any case, and whatever comes behind it.
        if data.removeprefix('"')[:_DONE_LENGTH].upper() == _DONE:
            self.is_done = True
        elif self._data:
            self._data.append(data)
        elif data.startswith(("{", "[")):
            value = _loaded(data)
            if value is None:
                self._data.append(data)
            else:
                self._add(value, values)
        elif data and self._kind == "error":
            self._add({"error": data}, values)

    def _join(self, values: list[Any], *, is_whole: bool = True) -> None:
        """The event whose lines were not JSON each by itself."""
        if not self._data:
            return
        lines, self._data = self._data, []
        joint = _loaded("\n".join(lines))
        for value in [joint] if joint is not None else map(_loaded, lines):
            if value is not None:
                self._add(value, values)
            elif is_whole:
                self.is_readable = False

    def _add(self, value: Any, values: list[Any]) -> None:
        if self._kind == "error" and isinstance(value, dict) and not value.get("error"):
            value = {"error": value}
        values.append(value)


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Stream:
    """One streamed answer, while it comes in.

    Args:
        form: which API answers.
        heard: called whenever an event says something.
    """

    def __init__(self, form: Form, heard: Callable[[], None] | None = None) -> None:
        self.heard = heard
        self._gathered = _Tokens() if form == "generated" else _Choices(is_chat=form == "chat")
        self._events = Events()
        self._head = b""
        self._is_events: bool | None = None
        self._error: Any = None

    @property
    def is_events(self) -> bool:
        """Whether what came are events, and not a whole body."""
        return bool(self._is_events)

    @property
    def is_over(self) -> bool:
        """Whether whatever still comes makes no difference."""
        return self._events.is_done or self._error is not None or not self._events.is_readable

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        """Read a piece; what belongs to a whole body comes back."""
        if self._is_events is None:
            piece = self._head + piece
            self._is_events = _begins_like_events(piece, last=last)
            self._head = piece if self._is_events is None else b""
        if self._is_events:
            self._take(self._events.feed(piece.removeprefix(_MARK), last=last))
            return b""
        return b"" if self._is_events is None else piece

    def feed_all(self, body: bytes) -> None:
        """Read a whole body as events, whatever it begins with."""
        self._is_events = True
        self._take(self._events.feed(body.removeprefix(_MARK), last=True))

    def feed_values(self, body: bytes) -> bool:
        """Read a whole body of JSON values instead of events; whether it is one."""
        text = body.decode("utf-8-sig", "replace")
        values = _loaded(text)
        if not isinstance(values, list):
            lines = filter(None, map(str.strip, text.split("\n")))
            values = [_loaded(line) for line in lines if not line.startswith(_DONE)]
        if len(values) < 2 or not all(isinstance(value, dict) for value in values):
            return False
        self._take(values)
        return True

    def _take(self, values: Iterable[Any]) -> None:
        heard = False
        for value in values:
            for chunk in value if isinstance(value, list) else (value,):
                if isinstance(chunk, dict):
                    heard = self._take_event(chunk) or heard
        if heard and self.heard is not None:
            self.heard()

    def _take_event(self, event: Json) -> bool:
        event = event if "choices" in event else unwrapped(event)
        self._error = self._error or _error_of(event)
        return self._gathered.take(event)

    def answer(self) -> Answer | None:
        """`None` unless it came to its end: a stream cut short is not an answer.

        Raises:
            StreamError: there is an error among the events.
            ValueError: an event cannot be read.
        """
        if self._error is not None:
            raise StreamError(self._error)
        if not self._events.is_readable:
            raise ValueError("not JSON")
        answer = self._gathered.answer(is_done=self._events.is_done)
        if answer is None or not self._events.has_foreign_bytes:
            return answer
        return replace(answer, completions=tuple(map(_repaired, answer.completions)))


def answer_in(form: Form, body: bytes) -> Answer | None:
    """The answer of events that came when a whole body was expected, or after other text.

    Raises:
        StreamError: there is an error among the events.
    """
    stream = Stream(form)
    if b"data:" in body:
        stream.feed_all(body)
    elif not stream.feed_values(body):
        return None
    try:
        return stream.answer()
    except ValueError:
        return None


def _begins_like_events(head: bytes, *, last: bool) -> bool | None:
    """`None` while there is too little to tell."""
    if len(head) < len(_MARK) and _MARK.startswith(head) and not last:
        return None
    start = head.removeprefix(_MARK).lstrip()
    if start.startswith(_FIELDS):
        return True
    return False if last or not any(name.startswith(start) for name in _FIELDS) else None


def _error_of(chunk: Json) -> Any:
    """What an event says went wrong; a choice may say it, too."""
    if error := chunk.get("error"):
        return error if isinstance(error, dict) else chunk
    choices = chunk.get("choices")
    if not isinstance(choices, list) or (not choices and why_blocked(chunk)):
        if "token" in chunk:  # TGI's own events, which are many
            return None
        return chunk if error_in(chunk)[1] else None
    for choice in choices:
        if isinstance(choice, dict) and (error := choice.get("error")):
            return error if isinstance(error, dict) else {"message": str(error)}
    return None


def _repaired(completion: Completion) -> Completion:
    """Texts whose bytes were kept: whole characters where halves met, U+FFFD elsewhere."""
    texts = (completion.text, completion.reasoning)
    text, reasoning = (text and _ESCAPED.sub(_unescaped, text) for text in texts)
    calls = json.dumps(completion.tool_calls, ensure_ascii=False)
    repaired = replace(
        completion,
        text=text,
        reasoning=reasoning,
        tool_calls=completion.tool_calls and tuple(json.loads(_ESCAPED.sub(_unescaped, calls))),
    )
    was = "".join(filter(None, (*texts, calls)))
    lost = any("\ufffd" in _unescaped(kept) for kept in _ESCAPED.finditer(was))
    return replace(repaired, utf8_replaced=lost)


def _unescaped(match: re.Match[str]) -> str:
    return match[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(slots=True)
class _Choice:
    """One choice of a stream, while it comes in."""

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    calls: list[tuple[int, Json]] = field(default_factory=list)
    reason: str | None = None
    usage: Usage | None = None
    opened_empty: bool = False
    """Whether an event named the role beside an empty content, as most streams begin."""

    def add(self, delta: Json) -> bool:
        """Join a piece of a chat message; whether it says something."""
        contents = contents_of(delta)
        if contents.text:
            self.text.append(contents.text)
        elif contents.text is not None:
            self._add_empty(delta)
        if contents.refusal:
            self.refusal.append(contents.refusal)
        if contents.reasoning:
            self.reasoning.append(contents.reasoning)
        for piece in contents.calls:
            _add_call(self.calls, piece)
        return bool(contents.text or contents.refusal or contents.reasoning or contents.calls)

    def _add_empty(self, delta: Json) -> None:
        if "role" in delta:
            self.opened_empty = True
        else:
            self.text.append("")

    def replace(self, message: Json) -> bool:
        """Take a whole message for what came in pieces: some servers end a stream with it."""
        contents = contents_of(message)
        if contents.text:
            self.text = [contents.text]
        if contents.reasoning:
            self.reasoning = [contents.reasoning]
        if contents.refusal:
            self.refusal = [contents.refusal]
        if contents.calls:
            self.calls = list(enumerate(contents.calls))
        return bool(contents.text or contents.reasoning or contents.calls)

    def completion(self) -> Completion:
        """What came, in the form of an answer that is not streamed."""
        pieces = self.text or self.refusal
        calls = sorted(self.calls, key=lambda numbered: numbered[0])
        return completion_of(
            text="".join(pieces) if pieces else None,
            reason=self.reason,
            logprobs=self.logprobs,
            reasoning="".join(self.reasoning),
            calls=[as_call(call) for _, call in calls],
        )


def _counted(usage: Usage | None, before: Usage | None) -> Usage | None:
    """The later count, unless it says that nothing was written where something had been."""
    if usage is None or (before and before.output_tokens and not usage.output_tokens):
        return before
    return usage


class _Choices:
    """The events of chat and of completions."""

    def __init__(self, *, is_chat: bool) -> None:
        self._is_chat = is_chat
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._model: str | None = None

    def take(self, chunk: Json) -> bool:
        """Add an event; whether it says something. The last usage counted is the answer's."""
        self._usage = _counted(usage_in(chunk), self._usage)
        self._model = string(chunk.get("model")) or self._model
        heard = False
        for choice in objects(chunk.get("choices")):
            heard = self._take_choice(choice) or heard
        return heard

    def _take_choice(self, choice: Json) -> bool:
        gathered = self._choices.setdefault(index_of(choice), _Choice())
        gathered.reason = reason_in(choice) or gathered.reason
        gathered.usage = usage_in(choice) or gathered.usage
        if (logprobs := choice.get("logprobs")) is not None:
            gathered.logprobs.extend(chat_logprobs(logprobs) or ())
        if not self._is_chat:
            return gathered.add({**choice, "content": choice.get("text")})
        delta, message = choice.get("delta"), choice.get("message")
        if delta is None and message is None and isinstance(choice.get("text"), str):
            delta = {"content": choice["text"]}
        if isinstance(delta, dict):
            return gathered.add(delta)
        return isinstance(message, dict) and gathered.replace(message)

    def answer(self, *, is_done: bool) -> Answer | None:
        """`None` unless every choice came to its end.

        If the server says that this is all, those that came to their end are the answer: LiteLLM
        ends but one of several, and the others are asked for again. A server that gives no reason
        for any end has ended them all, as in a whole answer without one.
        """
        every = [self._choices[index] for index in sorted(self._choices)]
        ended = [choice for choice in every if choice.reason is not None]
        if len(ended) < len(every) and not is_done:
            return None
        ended = ended or every
        usage = self._usage or summed(choice.usage for choice in ended) or Usage()
        completions = (_opened(choice, usage) for choice in ended)
        return answer_of(completions, usage, self._model)


def _opened(choice: _Choice, usage: Usage) -> Completion:
    """An empty text counts as a text if the server counts no more than the token that ended it.

    Else something was generated that is not there.
    """
    completion = choice.completion()
    is_empty = choice.opened_empty and usage.output_tokens in {0, 1}
    if is_empty and completion == Completion(text=None, finish_reason="stop"):
        return replace(completion, text="")
    return completion


class _Tokens:
    """TGI's events: one token each, the last one with the whole text and the details."""

    def __init__(self) -> None:
        self._tokens: list[Any] = []
        self._tops: list[Any] = []
        self._last: Json = {}

    def take(self, event: Json) -> bool:
        """Add an event; each one says something."""
        self._tokens.append(event.get("token"))
        self._tops.append(event.get("top_tokens"))
        self._last = event
        return True

    def answer(self, *, is_done: bool) -> Answer | None:
        """`None` without the event that ends it, whatever else the server says."""
        del is_done
        text, details = self._last.get("generated_text"), self._last.get("details")
        if not isinstance(text, str) or not isinstance(details, dict):
            return None
        completion = completion_of(
            text=text,
            reason=finish_reason(details.get("finish_reason")),
            logprobs=tgi_logprobs(self._tokens, self._tops),
        )
        usage = Usage(count(details.get("input_length")), count(details.get("generated_tokens")))
        return answer_of([completion], usage)


def _add_call(calls: list[tuple[int, Json]], piece: Json) -> None:
    """Join a piece to the call it belongs to, or begin a new one."""
    function = piece.get("function")
    function = function if isinstance(function, dict) else {}
    place, call = _call_of(calls, piece)
    if call is None or _begins_another(call, piece, function):
        call = {"function": {"name": None, "arguments": ""}}
        calls.append((place, call))
    for key, value in piece.items():
        if key not in {"index", "function"}:
            call[key] = call.get(key) or value
    call["function"]["name"] = call["function"]["name"] or function.get("name")
    call["function"]["arguments"] += call_arguments(function.get("arguments"))


def _call_of(calls: list[tuple[int, Json]], piece: Json) -> tuple[int, Json | None]:
    """The call at a piece's index; without one the call with its id, else the last."""
    index, identity = piece.get("index"), piece.get("id")
    if type(index) is int:
        return index, next((call for place, call in reversed(calls) if place == index), None)
    same = [pair for pair in calls if identity and pair[1].get("id") == identity]
    return same[-1] if same else calls[-1] if calls else (0, None)


def _begins_another(call: Json, piece: Json, function: Json) -> bool:
    """Some servers number every call 0, or none, and some of these give no ids either.

    An id alone is not a sign: others draw one per piece. Nor is a name: others repeat it.
    """
    name, identity = function.get("name"), piece.get("id")
    if not name or not call["function"]["name"]:
        return False
    if identity and call.get("id"):
        return bool(identity != call["id"])
    if not call["function"]["arguments"]:
        return bool(name != call["function"]["name"])
    has_more = bool(call_arguments(function.get("arguments")))
    is_other = has_more or name != call["function"]["name"]
    return is_other and _loaded(call["function"]["arguments"]) is not None
