"""Charts as geometry: numbers in, coordinates out. The template makes inline SVG of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from distilabel_endpoints._store.history import Change, Sample
from distilabel_endpoints.histogram import Bar, Histogram
from distilabel_endpoints.progress.formatting import duration, short_count

__all__ = ["BarChart", "LineChart", "Mark", "Rect", "Tick", "histogram_chart", "timeline"]

WIDTH: Final = 640
HEIGHT: Final = 180
LEFT: Final = 46
BOTTOM: Final = 22
TOP: Final = 10
RIGHT: Final = 12
_INNER_WIDTH: Final = WIDTH - LEFT - RIGHT
_INNER_HEIGHT: Final = HEIGHT - TOP - BOTTOM
_TICKS: Final = 4
_LABELS: Final = 6


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Rect:
    """One bar; `title` is what a pointer over it shows."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    """Where a chart is drawn, and the ticks along its two axes."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart(_Axes):
    """A histogram."""

    bars: tuple[Rect, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, as a vertical line."""

    x: float
    title: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart(_Axes):
    """A number over time."""

    lines: tuple[str, ...]
    """Points of polylines, in SVG's form; a line breaks between two processes of the run."""
    marks: tuple[Mark, ...]


def histogram_chart(histogram: Histogram, unit: str, form: Callable[[float], str]) -> BarChart:
    """Bars of how many numbers lie where, on a logarithmic scale.

    Args:
        histogram: the numbers.
        unit: what they are, for the titles.
        form: a number as text.
    """
    bars = histogram.bars()
    highest = max((bar.numbers for bar in bars), default=0)
    scale = _INNER_HEIGHT / highest if highest else 0.0
    width = _INNER_WIDTH / max(len(bars), 12)
    every = max(1, math.ceil(len(bars) / _LABELS))
    return BarChart(
        bars=tuple(
            Rect(
                x=round(LEFT + n * width + 1, 1),
                y=round(HEIGHT - BOTTOM - bar.numbers * scale, 1),
                width=round(max(width - 2, 1), 1),
                height=round(bar.numbers * scale, 1),
                title=f"{_range(bar, form)} {unit}: {bar.numbers:,}",
            )
            for n, bar in enumerate(bars)
        ),
        x_ticks=tuple(
            Tick(round(LEFT + n * width + 1, 1), form(bar.low))
            for n, bar in enumerate(bars)
            if n % every == 0
        ),
        y_ticks=_y_ticks(highest),
    )


def _range(bar: Bar, form: Callable[[float], str]) -> str:
    if bar.high == bar.low:
        return form(bar.low)
    return f"{form(bar.low)} to {form(bar.high)}"


def _y_ticks(highest: float) -> tuple[Tick, ...]:
    """Round numbers between 0 and the highest."""
    if highest <= 0:
        return (Tick(HEIGHT - BOTTOM, "0"),)
    step = _round_step(highest / _TICKS)
    count = int(highest / step + 1e-9)
    scale = _INNER_HEIGHT / highest
    return tuple(
        Tick(round(HEIGHT - BOTTOM - n * step * scale, 1), _tick_text(n * step))
        for n in range(count + 1)
    )


def _tick_text(number: float) -> str:
    return short_count(round(number)) if number >= 10 or number == int(number) else f"{number:.2g}"


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def timeline(
    samples: Sequence[Sample],
    changes: Sequence[Change],
    value: Callable[[Sample, Sample], float | None],
) -> LineChart:
    """A number over a run's time. The hours between its processes are left out.

    Args:
        samples: in order.
        changes: shown as marks.
        value: the number between two samples that follow one another in one process.
    """
    clock = _Clock(samples)
    points: list[list[tuple[float, float]]] = [[]]
    for before, now in pairwise(samples):
        follows = before.part == now.part and now.at > before.at
        number = value(before, now) if follows else None
        if number is not None:
            points[-1].append((clock.x(now.at), number))
        elif points[-1]:
            points.append([])
    highest = max((number for line in points for _, number in line), default=0.0)
    scale = _INNER_HEIGHT / highest if highest else 0.0
    marks = (Mark(clock.x(c.at), f"{clock.text(c.at)} {c.text}", c.kind) for c in changes)
    return LineChart(
        lines=tuple(
            " ".join(f"{x},{round(HEIGHT - BOTTOM - number * scale, 1)}" for x, number in line)
            for line in points
            if line
        ),
        marks=tuple(marks),
        x_ticks=clock.ticks(),
        y_ticks=_y_ticks(highest),
    )


class _Clock:
    """Places on the axis of time: seconds that were worked, not those between two processes."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._spans: list[tuple[float, float, float]] = []
        worked = 0.0
        for first, last in _parts(samples):
            self._spans.append((first, last, worked))
            worked += last - first
        self._worked = worked

    def seconds(self, at: float) -> float:
        """Seconds worked by then."""
        worked = 0.0
        for first, last, before in self._spans:
            if at < first:
                return before
            worked = before + min(at, last) - first
        return worked

    def x(self, at: float) -> float:
        share = self.seconds(at) / self._worked if self._worked else 0.0
        return round(LEFT + share * _INNER_WIDTH, 1)

    def text(self, at: float) -> str:
        return duration(self.seconds(at))

    def ticks(self) -> tuple[Tick, ...]:
        if self._worked <= 0:
            return ()
        return tuple(
            Tick(
                round(LEFT + n / _TICKS * _INNER_WIDTH, 1),
                duration(self._worked * n / _TICKS),
            )
            for n in range(_TICKS + 1)
        )


def _parts(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """First and last moment of each process."""
    spans: list[tuple[float, float]] = []
    part = None
    for sample in samples:
        if sample.part != part or sample.at < spans[-1][1]:
            spans.append((sample.at, sample.at))
            part = sample.part
        else:
            spans[-1] = (spans[-1][0], sample.at)
    return spans
