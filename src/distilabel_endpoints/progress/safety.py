"""Text from elsewhere, made fit for a terminal.

What a model or a server says may hold sequences that move the cursor, recolour the screen, set the
window's title, answer for the user or turn the reading direction (ECMA-48; Unicode UTS #55). Files
keep every byte; what is shown goes through here.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["safe_text"]

# OSC, DCS, SOS, PM and APC with what they carry. One that is not closed before the next control
# character is no sequence: its introducer goes, its words stay.
_STRING: Final = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
_CSI: Final = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
_ESCAPE: Final = r"\x1b[ -/]*[0-~]"
_CONTROL: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
# Marks, embeddings, overrides and isolates; invisible operators and tags, which hide text.
_INVISIBLE: Final = (
    "[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_REMOVED: Final = re.compile(f"{_STRING}|{_CSI}|{_ESCAPE}|{_CONTROL}|{_INVISIBLE}")
_BREAK: Final = re.compile("\r\n|[\t\n\r\u2028\u2029]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def safe_text(text: str, *, newlines: bool = False) -> str:
    """`text` without anything that drives a terminal, on one line unless `newlines`.

    C0, DEL and C1 controls, escape sequences with what they carry, and invisible characters that
    reorder or hide text are taken out; line breaks and tabs become spaces (`newlines` keeps line
    breaks as they are in Unix); lone surrogates, which no stream takes, become U+FFFD. Everything
    else stays, joiners of scripts and emoji included. Applied twice it changes nothing more.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _REMOVED.sub("", text)
    text = _BREAK.sub((lambda found: " " if found[0] == "\t" else "\n") if newlines else " ", text)
    return _SURROGATE.sub("\ufffd", text)
