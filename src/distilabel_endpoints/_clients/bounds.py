"""What a generation parameter's value may be: one check per kind of value.

A check gives back `None` for a value that will do, else the words for what would have done.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["Check", "biases", "extra", "instance_of", "integer", "number", "stops", "tools"]

Check = Callable[[Any], str | None]

_TOKEN_ID: Final = re.compile(r"[0-9]{1,9}")
_OURS: Final = ("inputs", "max_tokens", "messages", "n", "prompt", "stream", "stream_options")


def integer(least: int, most: int | None = None) -> Check:
    """A whole number; `True` is none."""
    bounds = f"an integer from {least} to {most}" if most is not None else f"an integer >= {least}"

    def check(value: Any) -> str | None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        fits = whole and value >= least and (most is None or value <= most)
        return None if fits else bounds

    return check


def number(low: float, high: float = math.inf, *, open_low: bool = False) -> Check:
    """A finite number; `True` is none."""
    sign = ">" if open_low else ">="
    bounds = f"a number {sign} {low:g}" + (f" and <= {high:g}" if high < math.inf else "")

    def check(value: Any) -> str | None:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        fits = real and low <= value <= min(high, sys.float_info.max)
        return None if fits and not (open_low and value == low) else bounds

    return check


_bias: Final = number(-100, 100)


def instance_of(kind: type | tuple[type, ...], name: str) -> Check:
    """Anything of `kind`, which messages call `name`."""
    return lambda value: None if isinstance(value, kind) else name


def stops(value: Any) -> str | None:
    """One stop sequence, or several."""
    texts = [value] if isinstance(value, str) else value
    fits = isinstance(texts, list | tuple) and all(isinstance(t, str) and t for t in texts)
    return None if fits else "a non-empty string, or a list of them"


def biases(value: Any) -> str | None:
    """Token ids, as numbers or as JSON has them, and a bias for each."""
    fits = isinstance(value, Mapping) and all(
        type(key) in {int, str} and _TOKEN_ID.fullmatch(str(key)) and _bias(bias) is None
        for key, bias in value.items()
    )
    return None if fits else "a mapping of token ids to numbers from -100 to 100"


def tools(value: Any) -> str | None:
    """At least one tool definition."""
    fits = isinstance(value, list | tuple) and all(isinstance(tool, Mapping) for tool in value)
    return None if fits and value else "a non-empty list of tool definitions (mappings)"


def extra(value: Any) -> str | None:
    """Fields of the body, without those that say what is asked and how it is read."""
    fits = isinstance(value, Mapping) and all(
        isinstance(name, str) and name not in _OURS for name in value
    )
    return None if fits else f"a mapping of names to values, with none of {', '.join(_OURS)}"
