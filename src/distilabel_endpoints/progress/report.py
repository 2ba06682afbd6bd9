"""A summary as text: what came out, what went wrong and where, and what to do now.

Pure: a summary and a width in, lines out. Every line fits the width but two kinds that must stay
whole to be copied: a path, and an argument of the command that resumes the run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final, assert_never

from distilabel_endpoints.progress.formatting import (
    Line,
    Span,
    Style,
    cells,
    count,
    duration,
    line,
    rate,
    rows,
    safe_text,
    share,
    short_count,
    wrap,
)
from distilabel_endpoints.run_state import FailureGroup, RunEnding, RunSummary, Spent, TokenCount
from distilabel_endpoints.spending.amounts import show_dollars

__all__ = ["command_lines", "report", "spent_parts", "spent_text"]

GROUPS_SHOWN = 6
_LONGER: Final = (
    "Raise --max-new-tokens (max_tokens in the bodies of a batch file), or add --on-length "
    "grow:2x, and start over with --fresh (max_new_tokens, on_length and fresh=True in Python)."
)
_ESCAPES: Final = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t"}
_INDENT = "  "
_LABEL = 11
_NARROWEST, _WIDEST = 40, 100
_MESSAGE_LINES = 3
_REASON_LINES = 8


def report(summary: RunSummary, width: int) -> list[Line]:
    """The summary in lines of `width` cells, but no less than 40 and, to be readable, 100."""
    width = min(max(_NARROWEST, width), _WIDEST)
    return [
        *_headline(summary, width),
        *_failures(summary, width),
        *_facts(summary, width),
        *_going_on(summary, width),
    ]


def _headline(summary: RunSummary, width: int) -> Iterator[Line]:
    opening, style = _ending(summary)
    counts = [f"{rows(summary.ok)} ok"]
    counts += [f"{count(summary.failed)} failed"] if summary.failed else []
    counts += [f"{count(summary.skipped)} skipped"] if summary.skipped else []
    counts += [f"{count(summary.pending)} left"] if summary.pending else []
    sentence = f"{opening}: {', '.join(counts)}, in {duration(summary.elapsed, tenths=True)}."
    for text in wrap(sentence, width):
        yield line(text, style)
    if summary.reason:
        for text in wrap(summary.reason, width - len(_INDENT), most=_REASON_LINES):
            yield line(_INDENT + text)


def _ending(summary: RunSummary) -> tuple[str, Style]:
    match summary.ending:
        case RunEnding.FINISHED:
            return "Finished", Style.NOTICE if summary.exit_code else Style.GOOD
        case RunEnding.ENDPOINT:
            return "Stopped by the endpoint", Style.BAD
        case RunEnding.INTERRUPTED:
            return "Interrupted", Style.NOTICE
        case RunEnding.STORAGE:
            return "Stopped by this machine's storage", Style.BAD
        case RunEnding.INPUT:
            return "Stopped because the input changed", Style.BAD
        case RunEnding.BUDGET:
            return "Stopped at the end of the budget", Style.NOTICE
        case RunEnding.PILOT:
            return "Stopped after the pilot", Style.NOTICE
        case RunEnding.USER_CODE:
            return "Stopped by an error in your own code", Style.BAD
        case RunEnding.ALARM:
            return "Paused by an alarm", Style.BAD
        case _:
            assert_never(summary.ending)


def _failures(summary: RunSummary, width: int) -> Iterator[Line]:
    if not summary.failures:
        return
    yield line()
    yield line("Failed rows", Style.STRONG)
    shown = summary.failures[:GROUPS_SHOWN]
    column = max(len(count(group.count)) for group in shown) + len(_INDENT)
    for group in shown:
        yield from _group(group, column, width)
    others = summary.failures[GROUPS_SHOWN:]
    if others:
        number = rows(sum(group.count for group in others))
        reasons = "1 more reason" if len(others) == 1 else f"{count(len(others))} more reasons"
        yield line(f"{_INDENT}and {reasons}, {number}", Style.DIM)


def _group(group: FailureGroup, column: int, width: int) -> Iterator[Line]:
    """Count, name and message; then where an example stands, and how to fix it."""
    name = safe_text(group.code or group.kind)
    status = f" ({group.status})" if group.status else ""
    room = width - column - len(_INDENT)
    first, *more = wrap(f"{name}{status}: {group.message}", room, most=_MESSAGE_LINES)
    yield (Span(f"{count(group.count):>{column}}", Style.BAD), Span(_INDENT + first))
    margin = " " * (column + len(_INDENT))
    for text in more:
        yield line(margin + text)
    row = f"row {group.example_ordinal + 1}"
    example = f"e.g. {group.example_source} ({row})" if group.example_source else f"e.g. {row}"
    for text in wrap(example, room):
        yield line(margin + text, Style.DIM)
    for text in wrap(group.hint, room) if group.hint else ():
        yield line(margin + text, Style.DIM)


def _facts(summary: RunSummary, width: int) -> Iterator[Line]:
    yield line()
    for label, text in _named_facts(summary):
        first, *more = wrap(text, width - _LABEL)
        yield (Span(f"{label:<{_LABEL}}", Style.LABEL), Span(first))
        for further in more:
            yield line(" " * _LABEL + further)
    if summary.output:
        yield _whole("Output", summary.output)


def _named_facts(summary: RunSummary) -> Iterator[tuple[str, str]]:
    for alarm in summary.alarms:
        if not alarm.acts:
            yield "Alarm", alarm.describe()
    if summary.truncated:
        part = share(summary.truncated, summary.answers)
        number = f"{count(summary.truncated)} of {count(summary.answers)} answers ({part})"
        yield "Truncated", f"{number} were cut off. {_LONGER}"
    yield "Tokens", _tokens(summary.tokens, summary.run_tokens)
    if summary.spent is not None and _is_worth_a_line(summary.spent):
        yield "Spent", spent_text(summary.spent)
    if summary.mean.rows > 0:
        speed = f"{rate(summary.mean.output_tokens)} output tokens/s"
        yield "Speed", f"{speed}, {rate(summary.mean.rows)} rows/s on average"
    if summary.resumed:
        yield "Resumed", f"{rows(summary.resumed)} had been done before"
    if summary.damaged_records:
        number = count(summary.damaged_records)
        noun = "record" if summary.damaged_records == 1 else "records"
        yield "Journal", f"{number} damaged {noun} redone"
    if summary.duplicate_ids:
        noun = "duplicate id" if summary.duplicate_ids == 1 else "duplicate ids"
        yield "Ids", f"{count(summary.duplicate_ids)} {noun} (kept, order preserved)"


def _tokens(tokens: TokenCount, run_tokens: TokenCount) -> str:
    text = f"{short_count(tokens.input_tokens)} in, {short_count(tokens.output_tokens)} out"
    if run_tokens == tokens:
        return text
    whole = f"{short_count(run_tokens.input_tokens)} in, "
    return f"{text}; whole run {whole}{short_count(run_tokens.output_tokens)} out"


def _is_worth_a_line(spent: Spent) -> bool:
    """Whether it says more than the tokens of the rows do."""
    return spent.budget is not None or bool(spent.unknown_tokens) or spent.dollars is not None


def spent_text(spent: Spent) -> str:
    """What a run has spent, and how much of that was not counted."""
    return "".join(spent_parts(spent))


def spent_parts(spent: Spent) -> tuple[str, str]:
    """What a run has spent, in dollars if they are known; and the text that follows the amount."""
    amount = f"{short_count(spent.tokens)} tokens"
    text = f" in {duration(spent.seconds)}"
    if spent.dollars is not None:
        amount, text = show_dollars(spent.dollars), f", {amount}{text}"
    if spent.budget is not None:
        text += f", of a budget of {spent.budget}"
    if spent.unknown_tokens:
        unknown = f"{short_count(spent.unknown_tokens)} tokens"
        text += f"; at most, as {unknown} are reserved for attempts whose outcome is unknown"
    return amount, text


def _whole(label: str, text: str) -> Line:
    return (Span(f"{label:<{_LABEL}}", Style.LABEL), Span(safe_text(text)))


def _going_on(summary: RunSummary, width: int) -> Iterator[Line]:
    """Where the finished rows are kept, and the command that does the rest."""
    if summary.journal and summary.ending is not RunEnding.FINISHED:
        yield _whole("Kept in", summary.journal)
    if summary.resume_command:
        yield line()
        yield line("To resume:", Style.STRONG)
        for text in command_lines(summary.resume_command, width - len(_INDENT)):
            yield line(_INDENT + text)


def command_lines(command: tuple[str, ...], width: int) -> list[str]:
    """A shell command in lines of at most `width` cells if its words allow that.

    A line continues after a backslash, and begins with an option if one is near. Words with
    control characters use the quoting `$'...'` of bash, zsh and ksh.
    """
    lines = [""]
    for words in _options(command):
        margin = "" if lines == [""] else " "
        longer = f"{lines[-1]}{margin}{words}"
        if cells(longer) <= width - 2 or not margin:
            lines[-1] = longer
        else:
            lines[-1] += " \\"
            lines.append(f"    {words}")
    return lines


def _options(command: tuple[str, ...]) -> list[str]:
    """The quoted words: each option with its values, what comes before options one by one."""
    groups: list[str] = []
    for word in command:
        quoted = _quoted(word)
        if groups and groups[-1].startswith("-") and not word.startswith("-"):
            groups[-1] += f" {quoted}"
        else:
            groups.append(quoted)
    return groups


def _quoted(word: str) -> str:
    if safe_text(word) == word:
        return shlex.quote(word)
    return "$'" + "".join(map(_escaped, word)) + "'"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if safe_text(character) == character:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        # A byte of an argument that is not UTF-8 (PEP 383).
        code -= 0xDC00
        return f"\\x{code:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
