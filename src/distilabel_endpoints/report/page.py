"""The one door to jinja2 for pages: values in, a page out that loads nothing and runs nothing.

Rules
- Everything is escaped by the template engine. Only the style sheet, which is ours, is not.
- The page's own policy allows its one style sheet, by its hash, and nothing else: no script, no
  picture, no address, no form.
- Text from elsewhere is shown as on a terminal: without control characters and without characters
  that reorder or hide text; long text is cut, and says by how much.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

from distilabel_endpoints.progress import safe_text
from distilabel_endpoints.quality.flaws import answers_of, flaws_of
from distilabel_endpoints.records import Completion, Failure
from distilabel_endpoints.report.stored import Prompt, StoredRow

__all__ = [
    "AnswerView",
    "MessageView",
    "RowView",
    "Text",
    "render",
    "row_view",
    "shown",
    "shown_line",
]

MOST_CHARACTERS: Final = 6000
"""Of one text. A page of eighty rows stays below a megabyte or two."""
_TITLE: Final = 110
_LINE: Final = 400


@dataclass(frozen=True, slots=True)
class Text:
    """A text that may be cut."""

    shown: str
    left: int = 0
    """Characters that are not shown."""

    def __bool__(self) -> bool:
        return bool(self.shown)


def shown(text: str | None, most: int = MOST_CHARACTERS) -> Text:
    """`text` fit for a page."""
    text = text or ""
    return Text(safe_text(text[:most], newlines=True), max(0, len(text) - most))


def shown_line(text: object, most: int = _LINE) -> str:
    """The same on one line."""
    line = safe_text(str(text)[: most + 1])
    return line if len(line) <= most else f"{line[: most - 1]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """One answer of a row."""

    label: str
    text: Text
    reasoning: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """One message of a prompt."""

    role: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """A row as a page shows it."""

    number: str
    title: str
    """How its prompt begins."""
    ok: bool
    status: str
    flaws: tuple[str, ...]
    prompt: tuple[MessageView, ...]
    missing: str | None
    answers: tuple[AnswerView, ...]
    failures: tuple[Text, ...]
    facts: str


def row_view(row: StoredRow, prompt: Prompt) -> RowView:
    """What a page shows of `row`."""
    result = row.result
    answers = answers_of(result)
    failures = list(dict.fromkeys(f.describe() for f in result.failures if f is not None))
    flaws = dict.fromkeys(str(flaw) for answer in answers for flaw in sorted(flaws_of(answer)))
    ok = result.status == "ok"
    first = next(filter(None, result.failures), None)
    last = prompt.messages[-1][1] if prompt.messages else ""
    return RowView(
        number=f"{row.ordinal + 1:,}",
        title=shown_line(last, _TITLE),
        ok=ok,
        status="ok" if ok or first is None else shown_line(first.code or first.kind, 60),
        flaws=tuple(flaws),
        prompt=tuple(
            MessageView(role=shown_line(role, 60), text=shown(text))
            for role, text in prompt.messages
        ),
        missing=None if prompt.missing is None else shown_line(prompt.missing),
        answers=tuple(_answer_view(answer, n, len(answers)) for n, answer in enumerate(answers)),
        failures=tuple(shown(failure) for failure in failures),
        facts=_facts(row),
    )


def _answer_view(answer: Completion | Failure, place: int, whole: int) -> AnswerView:
    refused = isinstance(answer, Failure)
    label = "refused answer" if refused else "answer"
    if whole > 1:
        label = f"{label} {place + 1} of {whole}"
    text = answer.text
    if isinstance(answer, Completion) and answer.tool_calls:
        calls = "\n".join(str(dict(call)) for call in answer.tool_calls)
        text = f"{text or ''}\n[tool calls] {calls}".strip()
    return AnswerView(
        label=label,
        text=shown(text) or Text("(no text)"),
        reasoning=shown(answer.reasoning),
    )


def _facts(row: StoredRow) -> str:
    result = row.result
    read = sum(usage.input_tokens or 0 for usage in result.usages)
    made = sum(usage.output_tokens or 0 for usage in result.usages)
    facts = []
    if read or made:
        facts.append(f"{read:,} tokens in, {made:,} out")
    reasons = dict.fromkeys(e.finish_reason for e in answers_of(result) if e.finish_reason)
    if reasons:
        facts.append(f"ended by {shown_line(', '.join(reasons), 60)}")
    if result.attempts > 1:
        facts.append(f"{result.attempts} requests")
    return "; ".join(facts)


def render(template: str, title: str, values: Mapping[str, Any]) -> str:
    """A page.

    Args:
        template: its name.
        title: of the page.
        values: what the template shows.
    """
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = (
        _environment()
        .get_template(template)
        .render(
            title=shown_line(title),
            policy=policy,
            style=Markup(style),  # noqa: S704 - our own file
            version=metadata.version("distilabel-endpoints"),
            made=made,
            **values,
        )
    )
    return text + "\n"


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("distilabel_endpoints.report")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


@cache
def _style() -> str:
    return (files("distilabel_endpoints.report") / "templates" / "style.css").read_text("utf-8")
