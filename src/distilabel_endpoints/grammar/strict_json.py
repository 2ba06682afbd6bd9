"""Reading JSON that somebody else wrote: bounded depth, finite numbers, content-free reasons.

The reasons say what is wrong and at which character; they never quote the text.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

__all__ = ["compact", "read_json"]

# A whole string (so that brackets in it do not count), or one bracket. Linear: no overlap.
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


def compact(value: Any) -> str:
    """`value` as JSON without spaces, keys in the given order.

    Raises:
        ValueError: not finite, or refers to itself.
        TypeError: not JSON.
        RecursionError: nested too deep.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_json(text: str, depth: int) -> Any:
    """The value of `text`, nested at most `depth` levels.

    Raises:
        ValueError: with a reason that holds nothing of the text.
    """
    if _deeper(text, depth):
        raise ValueError(f"nested deeper than {depth} levels")
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as exc:
        raise ValueError(f"not JSON: {exc.msg.split(':')[0]} at character {exc.pos}") from None
    except _NumberError as exc:
        raise ValueError(str(exc)) from None
    except ValueError:
        # Python refuses integers of more than 4,300 digits, whose value would cost quadratic time.
        raise ValueError("holds a number with too many digits") from None


class _NumberError(ValueError):
    pass


def _refuse_constant(_: str) -> NoReturn:
    raise _NumberError("not JSON: holds NaN or Infinity")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _NumberError("holds a number too large to read")
    return number


def _deeper(text: str, depth: int) -> bool:
    # Most texts have fewer brackets than levels allowed, and counting them is nearly free.
    if text.count("[") + text.count("{") <= depth:
        return False
    level = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                level += 1
                if level > depth:
                    return True
            case "]" | "}":
                level -= 1
    return False
