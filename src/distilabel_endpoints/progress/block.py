"""A snapshot as the few lines a person watches.

Pure: a snapshot and a width in, lines out. What stands where depends on the width alone, so
figures stay in their columns; what does not fit is left out from the right, the least important
first. Below 110 columns the short form is used.
"""

from __future__ import annotations

from collections.abc import Iterable

from distilabel_endpoints.progress.formatting import (
    Line,
    Span,
    Style,
    cells,
    clip,
    count,
    duration,
    line,
    rate,
    safe_text,
    share,
    short_count,
)
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, TokenCount, Waiting

__all__ = ["block", "eta_text", "in_flight_text", "retries_text", "state_text"]

WIDE = 110
LABEL = 11
_SHORTEST_BAR = 8
_LEAST_CLIPPED = 20
_GAP = "  "


def block(snapshot: RunSnapshot, width: int) -> list[Line]:
    """One to four lines of at most `width` cells."""
    if snapshot.phase is RunPhase.SCANNING:
        return [_labelled(snapshot.phase, [Span(f"{count(snapshot.rows_read)} rows read")], width)]
    state = state_text(snapshot)
    if snapshot.phase is RunPhase.WAITING and snapshot.limit is None:
        # The endpoint is not there yet, and there is nothing to count.
        return [_labelled(snapshot.phase, [Span(state or "", Style.NOTICE)], width)]
    wide = width >= WIDE
    lines = [
        _progress_line(snapshot, width),
        _labelled("rows", _row_fields(snapshot, wide), width),
        _labelled("tokens", _token_fields(snapshot, wide), width),
    ]
    if state is not None:
        lines.append(line(clip(" " * LABEL + state, width), Style.NOTICE))
    return lines


def state_text(snapshot: RunSnapshot) -> str | None:
    """What holds the run up, in a line's worth of words; `None` when nothing does."""
    if snapshot.phase is RunPhase.DRAINING:
        sent = "1 request" if snapshot.in_flight == 1 else f"{count(snapshot.in_flight)} requests"
        left = snapshot.drain_left
        limit = "" if left is None else f", {duration(left)} at most"
        return f"finishing {sent} in flight{limit}; Ctrl-C cancels them"
    if snapshot.waiting is not None:
        return _waiting_text(snapshot.waiting)
    return None


def _waiting_text(waiting: Waiting) -> str:
    text = safe_text(waiting.text)
    if waiting.remaining is not None:
        return f"{text}, {duration(waiting.remaining)} left"
    return f"{text}, {duration(waiting.elapsed)}" if waiting.elapsed >= 0.5 else text


def retries_text(snapshot: RunSnapshot) -> str | None:
    """`retries: throttle 12, transient 3`, most first; `None` when there were none."""
    counted = sorted(snapshot.retries.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(f"{kind} {count(number)}" for kind, number in counted if number)
    return f"retries: {kinds}" if kinds else None


def _progress_line(snapshot: RunSnapshot, width: int) -> Line:
    label = Span(f"{snapshot.phase:<{LABEL}}", Style.LABEL)
    if snapshot.total is None:
        read = f"{count(snapshot.done)} of {count(snapshot.rows_read)} rows read so far"
        return _fitted([label, Span(read), Span(_elapsed(snapshot), Style.DIM)], width)
    total = count(snapshot.total)
    percent = share(snapshot.done, snapshot.total)
    rows = f"{count(snapshot.done):>{len(total)}}/{total}"
    ends = [Span(f"{percent:>5}"), Span(rows), *_times(snapshot, width >= WIDE)]
    room = width - LABEL - sum(cells(end.text) for end in ends) - len(_GAP) * len(ends)
    if room < _SHORTEST_BAR:
        return _fitted([label, *ends], width)
    percentage, *others = ends
    bar = _bar(snapshot.done / max(1, snapshot.total), room)
    spaced = [span for end in others for span in (Span(_GAP), end)]
    return (label, percentage, Span(_GAP), *bar, *spaced)


def _times(snapshot: RunSnapshot, wide: bool) -> list[Span]:
    eta = eta_text(snapshot)
    elapsed = Span(f"{_elapsed(snapshot):<17}", Style.DIM)
    if wide:
        return [Span(f"{eta or '':<13}", Style.STRONG), elapsed]
    return [elapsed if eta is None else Span(f"{eta:<17}", Style.STRONG)]


def eta_text(snapshot: RunSnapshot) -> str | None:
    """`ETA 7 m 05 s`, while rows are being sent and it is known."""
    if snapshot.eta is None or snapshot.phase is not RunPhase.RUNNING:
        return None
    return f"ETA {duration(snapshot.eta)}"


def _elapsed(snapshot: RunSnapshot) -> str:
    return f"elapsed {duration(snapshot.elapsed)}"


def _bar(fraction: float, width: int) -> tuple[Span, Span]:
    halves = int(min(max(fraction, 0.0), 1.0) * width * 2)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return Span(filled, Style.GOOD), Span("─" * (width - len(filled)), Style.DIM)


def _row_fields(snapshot: RunSnapshot, wide: bool) -> list[Span]:
    failed = Style.BAD if snapshot.failed else Style.DIM
    fields = [
        _speed(snapshot.recent.rows, snapshot.mean.rows, wide),
        Span(f"{count(snapshot.failed)} failed".ljust(10), failed),
    ]
    if snapshot.skipped:
        fields.append(Span(f"{count(snapshot.skipped)} skipped".ljust(10), Style.NOTICE))
    fields.append(Span(in_flight_text(snapshot).ljust(32)))
    if snapshot.resumed:
        fields.append(Span(f"{count(snapshot.resumed)} done before", Style.DIM))
    return fields


def in_flight_text(snapshot: RunSnapshot) -> str:
    """`40/48 in flight (refused)`: requests, the limit, and why it last changed.

    After a cut there are more than the limit allows to start: `40 in flight, limit 8 (refused)`.
    """
    reason = f" ({safe_text(snapshot.limit_reason)})" if snapshot.limit_reason else ""
    sent, limit = count(snapshot.in_flight), snapshot.limit
    if limit is None:
        return f"{sent} in flight{reason}"
    if snapshot.in_flight > limit:
        return f"{sent} in flight, limit {count(limit)}{reason}"
    return f"{sent}/{count(limit)} in flight{reason}"


def _token_fields(snapshot: RunSnapshot, wide: bool) -> list[Span]:
    fields = [
        _speed(snapshot.recent.output_tokens, snapshot.mean.output_tokens, wide),
        *_token_counts(snapshot.tokens),
    ]
    if wide and snapshot.run_tokens != snapshot.tokens:
        whole = ", ".join(span.text.rstrip() for span in _token_counts(snapshot.run_tokens))
        fields.append(Span(f"whole run {whole}", Style.DIM))
    retries = retries_text(snapshot)
    if retries:
        fields.append(Span(retries, Style.DIM))
    return fields


def _speed(recent: float, mean: float, wide: bool) -> Span:
    now = f"{rate(recent)}/s"
    return Span(f"{now:<9} mean {rate(mean):<6}" if wide else now.ljust(9), Style.STRONG)


def _token_counts(tokens: TokenCount) -> list[Span]:
    return [
        Span(f"{short_count(tokens.input_tokens)} in".ljust(10)),
        Span(f"{short_count(tokens.output_tokens)} out".ljust(10)),
    ]


def _labelled(label: str, fields: Iterable[Span], width: int) -> Line:
    return _fitted([Span(f"{label:<{LABEL}}", Style.LABEL), *fields], width)


def _fitted(spans: list[Span], width: int) -> Line:
    """The spans with a gap between them (none after the label), as far as they fit."""
    fitted: list[Span] = []
    used = 0
    for position, span in enumerate(spans):
        gap = len(_GAP) if position > 1 else 0
        room = width - used - gap
        text = span.text if cells(span.text) <= room else span.text.rstrip()
        if cells(text) > room:
            if room >= _LEAST_CLIPPED:
                fitted.append(Span(" " * gap + clip(text, room), span.style))
            break
        fitted.append(Span(" " * gap + text, span.style))
        used += gap + cells(text)
    return tuple(fitted)
