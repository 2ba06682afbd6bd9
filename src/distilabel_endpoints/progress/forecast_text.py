"""A forecast as text: what the whole run will need, each figure with the range it lies in."""

from __future__ import annotations

from collections.abc import Callable

from distilabel_endpoints.progress.formatting import count, duration, rows, short_count
from distilabel_endpoints.spending.amounts import show_dollars
from distilabel_endpoints.spending.forecast import Forecast
from distilabel_endpoints.spending.intervals import Interval

__all__ = ["forecast_text"]


def forecast_text(made: Forecast | None, *, no_price: str = "") -> str:
    """The forecast in lines.

    Args:
        made: what was forecast; None: the pilot had too few rows.
        no_price: why there are no dollars.
    """
    if made is None:
        return "Too few rows of the pilot could be answered for a forecast."
    dollars = f"unknown: {no_price}"
    if made.dollars is not None:
        dollars = _between(made.dollars, show_dollars)
    time = "unknown: the pilot was too short to find the endpoint's limit"
    if made.hours is not None:
        time = _between(made.hours.scaled(3600), duration)
    cut = _between(made.cut_share, lambda share: f"{share:.1%}")
    lines = [
        f"{rows(made.sample)} of {count(made.rows)}, drawn at random, are done. The whole run:",
        f"  output   {_between(made.output_tokens, short_count)} tokens",
        f"  input    {_between(made.input_tokens, short_count)} tokens",
        f"  dollars  {dollars}",
        f"  time     {time}",
        f"  cut off  {cut} of the rows, at max_new_tokens={made.max_new_tokens}",
        f"  advice   {_advice(made)}",
        "Each range is right in nine of ten cases.",
    ]
    return "\n".join(lines)


def _between(interval: Interval, show: Callable[[float], str]) -> str:
    low, high = show(max(0.0, interval.low)), show(interval.high)
    return low if low == high else f"{low} to {high}"


def _advice(made: Forecast) -> str:
    if made.recommended > made.max_new_tokens:
        return f"raise max_new_tokens to {made.recommended} and start over with --fresh"
    return f"max_new_tokens={made.recommended} holds nearly all answers that end by themselves"
