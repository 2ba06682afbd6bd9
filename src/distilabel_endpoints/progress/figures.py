"""Numbers as people read them: counts, rates, shares, durations.

Every text is ASCII, has a bounded width, and never claims more than is so: 99.99 % is not 100 %.
"""

from __future__ import annotations

import math

__all__ = ["count", "duration", "rate", "rows", "share", "short_count"]

_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(number: int) -> str:
    """`12,345`"""
    return f"{number:,}"


def rows(number: int) -> str:
    """`1 row`, `12,345 rows`"""
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def short_count(number: float) -> str:
    """`9,876`, `12.3k`, `845k`, `1.20M`: three digits, once there are more than four."""
    if number < 9999.5:
        return f"{number:,.0f}"
    for size, unit in _UNITS:
        # 999,500 rounds to 1,000k, which is 1.00M.
        if number >= size * 0.9995:
            value = number / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f}{unit}"
    raise AssertionError(number)


def rate(per_second: float) -> str:
    """`0`, `0.31`, `14.2`, `812`, `8,120`, `12.3k`: without its unit."""
    if per_second < 0.005:
        return "0"
    if per_second < 9.995:
        return f"{per_second:.2f}"
    if per_second < 99.95:
        return f"{per_second:.1f}"
    return short_count(per_second)


def share(part: int, whole: int) -> str:
    """`12 %`; `<1 %` and `>99 %` where rounding would say none or all."""
    if part <= 0 or whole <= 0:
        return "0 %"
    if part >= whole:
        return "100 %"
    percent = 100 * part / whole
    if percent < 1:
        return "<1 %"
    return ">99 %" if percent > 99 else f"{percent:.0f} %"


def duration(seconds: float, *, tenths: bool = False) -> str:
    """`45 s`, `2 m 10 s`, `1 h 05 m`, `3 d 04 h`; `tenths` says `4.2 s` below ten seconds."""
    if not math.isfinite(seconds) or seconds >= 1000 * 86_400:
        return "over 999 d"
    if tenths and 0 <= seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = max(0, int(seconds + 0.5))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"
