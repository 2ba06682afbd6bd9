"""A run's answers, watched while they come; when they cannot be right, nothing more is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.errors import AlarmError
from distilabel_endpoints.progress import Progress
from distilabel_endpoints.quality.alarms import Alarm, Alarms, Closed, Watch
from distilabel_endpoints.records import Result
from distilabel_endpoints.run_state import RunEnding
from distilabel_endpoints.runs.recorder import Recorder

__all__ = ["AnswerWatch", "alarm_error", "last_text", "resume_flags", "show_alarm"]

_GRACE: Final = 30.0
"""Seconds that requests in flight get to finish after a pause, as after Ctrl-C."""


class AnswerWatch:
    """Watches the answers of one run. In the run's thread.

    Args:
        alarms: what is too much.
        tell: shows and keeps an alarm.
        drain: ends the sending; is given the seconds that requests in flight may take.
    """

    def __init__(
        self, alarms: Alarms, tell: Callable[[Alarm], None], drain: Callable[[float], None]
    ) -> None:
        self._alarms = alarms
        self._watch = Watch(alarms)
        self._tell = tell
        self._drain = drain
        self.raised: list[Alarm] = []
        self.error: AlarmError | None = None
        """What ends the run."""

    def sent(self, plan: RowPlan) -> None:
        """A row is on its way."""
        request = plan.request
        self._watch.sent(request.ordinal, last_text(plan), is_free=plan.check is None)

    def ended(self, result: Result) -> None:
        """A row has ended."""
        for alarm in self._watch.ended(result):
            self.take(alarm)

    def closed(self, cohort: Closed) -> None:
        """A worker has seen all rows of a cohort end."""
        for alarm in self._watch.closed(cohort):
            self.take(alarm)

    def take(self, alarm: Alarm) -> None:
        """Do what an alarm demands."""
        self.raised.append(alarm)
        self._tell(alarm)
        if alarm.acts and self.error is None:
            self.error = alarm_error(alarm)
            self._drain(_GRACE if self._alarms.drains else 0.0)


def alarm_error(alarm: Alarm) -> AlarmError:
    """What ends a run for which `alarm` is set to end it."""
    return AlarmError(
        f"{alarm.describe()}. What is finished is kept. Look at the rows with `view`; then resume "
        "with --alarm off (alarms='off' in Python), or start over with other settings and --fresh.",
        flaw=str(alarm.flaw),
        examples=alarm.examples,
    )


def show_alarm(alarm: Alarm, recorder: Recorder, progress: Progress) -> None:
    """Keep an alarm in the run's history, and show it; one that ends the run is its reason."""
    recorder.note("alarm", alarm.describe())
    if not alarm.acts:
        progress.message(f"Alarm: {alarm.describe()}.")


def resume_flags(halted: RunEnding | None, error: AlarmError | None) -> tuple[str, ...]:
    """What the same command needs besides, so as not to end for the same reason at once."""
    if error is not None:
        return ("--alarm", "off")
    return ("--yes",) if halted is RunEnding.PILOT else ()


def last_text(plan: RowPlan) -> str:
    """What an answer that only repeats its prompt would say."""
    request = plan.request
    if not request.messages:
        return request.prompt or ""
    content = request.messages[-1].get("content")
    return content if isinstance(content, str) else ""
