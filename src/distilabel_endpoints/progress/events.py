"""What machines read: one JSON object per event, its fields documented in `docs/events.md`.

Fields are named as the attributes of `RunSnapshot` and `RunSummary`, tokens and rates flattened.
A field may be added; none is renamed, dropped or given another meaning. Lines are ASCII.
"""

from __future__ import annotations

import json
import math
from typing import Any

from distilabel_endpoints.quality.alarms import Alarm
from distilabel_endpoints.run_state import FailureGroup, RunSnapshot, RunSummary, Spent, Waiting

__all__ = ["Event", "event_line", "finished_event", "message_event", "progress_event"]

Event = dict[str, Any]


def event_line(event: Event) -> str:
    """The event on its own line; a number JSON has no name for becomes `null`."""
    return json.dumps(event, allow_nan=False, separators=(", ", ": ")) + "\n"


def message_event(text: str) -> Event:
    """A remark meant for people."""
    return {"event": "message", "text": text}


def progress_event(snapshot: RunSnapshot) -> Event:
    """How the run stands."""
    return {
        "event": "progress",
        "elapsed": _rounded(snapshot.elapsed),
        "phase": str(snapshot.phase),
        "total": snapshot.total,
        "rows_read": snapshot.rows_read,
        "done": snapshot.done,
        "ok": snapshot.ok,
        "failed": snapshot.failed,
        "skipped": snapshot.skipped,
        "resumed": snapshot.resumed,
        "in_flight": snapshot.in_flight,
        "limit": snapshot.limit,
        "limit_reason": snapshot.limit_reason,
        "input_tokens": snapshot.tokens.input_tokens,
        "output_tokens": snapshot.tokens.output_tokens,
        "run_input_tokens": snapshot.run_tokens.input_tokens,
        "run_output_tokens": snapshot.run_tokens.output_tokens,
        "rows_per_second": _rounded(snapshot.recent.rows),
        "output_tokens_per_second": _rounded(snapshot.recent.output_tokens),
        "mean_rows_per_second": _rounded(snapshot.mean.rows),
        "mean_output_tokens_per_second": _rounded(snapshot.mean.output_tokens),
        "retries": {str(kind): number for kind, number in sorted(snapshot.retries.items())},
        "served": [
            {
                "endpoint": endpoint,
                "provider": provider,
                "answers": served.answers,
                "input_tokens": served.input_tokens,
                "output_tokens": served.output_tokens,
            }
            for (endpoint, provider), served in sorted(snapshot.served.items())
        ],
        "eta": _rounded(snapshot.eta),
        "spent": None if snapshot.spent is None else _spent(snapshot.spent),
        "waiting": None if snapshot.waiting is None else _waiting(snapshot.waiting),
        "drain_left": _rounded(snapshot.drain_left),
    }


def finished_event(summary: RunSummary) -> Event:
    """How this process left the run: the last line."""
    command = summary.resume_command
    return {
        "event": "finished",
        "ending": str(summary.ending),
        "exit_code": summary.exit_code,
        "reason": summary.reason,
        "ok": summary.ok,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "pending": summary.pending,
        "resumed": summary.resumed,
        "failures": [_failure_group(group) for group in summary.failures],
        "answers": summary.answers,
        "truncated": summary.truncated,
        "alarms": [_alarm(alarm) for alarm in summary.alarms],
        "elapsed": _rounded(summary.elapsed),
        "input_tokens": summary.tokens.input_tokens,
        "output_tokens": summary.tokens.output_tokens,
        "run_input_tokens": summary.run_tokens.input_tokens,
        "run_output_tokens": summary.run_tokens.output_tokens,
        "spent": None if summary.spent is None else _spent(summary.spent),
        "forecast": None if summary.forecast is None else dict(summary.forecast),
        "mean_rows_per_second": _rounded(summary.mean.rows),
        "mean_output_tokens_per_second": _rounded(summary.mean.output_tokens),
        "damaged_records": summary.damaged_records,
        "duplicate_ids": summary.duplicate_ids,
        "output": summary.output,
        "journal": summary.journal,
        "resume_command": None if command is None else list(command),
    }


def _waiting(waiting: Waiting) -> Event:
    return {
        "text": waiting.text,
        "elapsed": _rounded(waiting.elapsed),
        "remaining": _rounded(waiting.remaining),
    }


def _spent(spent: Spent) -> Event:
    return {
        "tokens": spent.tokens,
        "unknown_tokens": spent.unknown_tokens,
        "dollars": spent.dollars,
        "unknown_dollars": spent.unknown_dollars,
        "seconds": _rounded(spent.seconds),
        "budget": spent.budget,
    }


def _failure_group(group: FailureGroup) -> Event:
    return {
        "kind": str(group.kind),
        "code": group.code,
        "status": group.status,
        "count": group.count,
        "message": group.message,
        "hint": group.hint,
        "example_ordinal": group.example_ordinal,
        "example_source": group.example_source,
    }


def _alarm(alarm: Alarm) -> Event:
    return {
        "name": str(alarm.flaw),
        "flawed": alarm.part,
        "answers": alarm.whole,
        "threshold": alarm.threshold,
        "acts": alarm.acts,
        "examples": list(alarm.examples),
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, 3)
