"""The token and the prompt that must not be found, and all that can be got out of an exception."""

from __future__ import annotations

import traceback
from pathlib import Path

__all__ = ["CUT", "ECHO", "PROMPT", "TOKEN", "everything_of"]

TOKEN = "hf_CANARYcanaryCANARYcanaryCANARYcanary"
PROMPT = "The PROMPT-CANARY sang of a secret garden behind the old mill."
CUT = "PROMPT-CANARY"
"""What is looked for of the prompt."""
ECHO = {
    "error": f"token {TOKEN} with 'Bearer {TOKEN}' may not ask {PROMPT!r}",
    "detail": [{"loc": ["body"], "msg": "bad", "input": {"content": PROMPT, "key": TOKEN}}],
}
"""A body of a server that says back all that it was sent."""

_HERE = str(Path(__file__).parent)


def everything_of(error: BaseException) -> str:
    """An exception and all behind it, with the locals of the frames they came through.

    Of all frames but the tests' own, which hold the canaries.
    """
    shown: list[str] = []
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        found = traceback.TracebackException.from_exception(one, capture_locals=True)
        found.stack[:] = [frame for frame in found.stack if not frame.filename.startswith(_HERE)]
        shown += [*found.format(chain=False), repr(one), str(one), repr(vars(one))]
    return "\n".join(shown)
