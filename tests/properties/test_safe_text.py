"""`safe_text`: nothing a model or a server says drives the terminal."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints.progress import safe_text
from distilabel_endpoints.progress.outlet import Outlet
from distilabel_endpoints.progress.terminal import TerminalProgress
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, Waiting

CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
BIDI = list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
SEQUENCES = ["\x1b[", "\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1b\\", "\x1b(0", "\x1b#8"]
PIECES = ["31m", "2J", "0;title", "52;c;aGk=", ";", "?25l", "A", "[bold]", "[/]", "\r\n", "\u2028"]
HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(CONTROLS + BIDI),
        st.sampled_from(SEQUENCES + PIECES),
        st.text(alphabet=st.characters(), max_size=5),
    ),
    max_size=40,
).map("".join)

# What our own display sends: colours, erase line, cursor up and visibility, CR and LF.
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|2K|1A|\?25[hl])|[\r\n]")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.promise("S7")
@given(HOSTILE)
def test_no_control_is_left(text: str) -> None:
    """No C0, C1, line separator, surrogate or direction mark is left, anywhere."""
    for character in safe_text(text):
        assert unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}
        assert character not in BIDI


@given(HOSTILE)
def test_line_breaks_stay_where_wanted(text: str) -> None:
    """With `newlines`, line feeds are the only controls, as many as the text has breaks."""
    kept = safe_text(text, newlines=True)
    assert {c for c in kept if unicodedata.category(c) in {"Cc", "Zl", "Zp"}} <= {"\n"}
    assert kept.replace("\n", " ") == safe_text(text)


@given(HOSTILE, st.booleans())
def test_twice_is_once(text: str, newlines: bool) -> None:
    """Taking sequences out puts no new one together."""
    once = safe_text(text, newlines=newlines)
    assert safe_text(once, newlines=newlines) == once


@given(st.text(alphabet=st.characters(categories=["L", "M", "N", "P", "S", "Zs"])))
def test_words_are_left_alone(text: str) -> None:
    """Letters, marks, numbers, punctuation, symbols and blanks of any script stay."""
    assert safe_text(text) == text


@given(HOSTILE)
def test_text_can_always_be_written(text: str) -> None:
    """What is left can be encoded, lone surrogates included."""
    safe_text(text).encode("utf-8")


@pytest.mark.promise("S7")
@given(HOSTILE)
def test_a_live_display_sends_its_own_sequences_only(text: str) -> None:
    """Through the real display, as message, limit reason and wait: nothing but ours gets out."""
    terminal = Terminal()
    with TerminalProgress(Outlet(terminal)) as progress:
        progress.message(text)
        progress.update(
            RunSnapshot(
                elapsed=1.0,
                phase=RunPhase.RUNNING,
                total=9,
                limit=1,
                limit_reason=text,
                waiting=Waiting(text, 3.0),
            )
        )
    left = OURS.sub("", terminal.getvalue())
    assert not [c for c in left if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not set(left) & set(BIDI)


@pytest.mark.promise("S7")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;2;1;2;3mred", "red"),
        ("\x9b2Jgone", "gone"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x9d52;c;aGk=\x9cb", "ab"),
        ("a\x1bPq#0;2;0;0;0\x1b\\b", "ab"),
        ("a\x1b]never closed", "anever closed"),
        ("a\x1b]cut\nshort\x07", "acut short"),
        ("\x1b(0\x1b=\x1b7\x1bcx", "x"),
        ("\x1b\x1b[0m[31m", "[31m"),
        ("over\b\b\bwrite\x7f", "overwrite"),
        ("a\rb\r\nc\td", "a b c d"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("h\u200bi\U000e0041", "hi"),
        ("\ud800", "\ufffd"),
        ("👩\u200d💻 नि\u200cक é", "👩\u200d💻 नि\u200cक é"),
        ("[bold red]x[/]", "[bold red]x[/]"),
    ],
)
def test_known_tricks(text: str, shown: str) -> None:
    """Each known way to drive a terminal leaves its plain words, or nothing."""
    assert safe_text(text) == shown


def test_line_breaks_become_unix_ones() -> None:
    """Every kind of break is one line feed."""
    assert safe_text("a\r\nb\rc\u2028d\te", newlines=True) == "a\nb\nc\nd e"


def test_time_is_linear() -> None:
    """Many unclosed sequences are not a trap: 100,000 of each are read in one pass."""
    for introducer in ("\x1b]", "\x9d", "\x1b[", "\x9b", "\x1b(", "\x1b", "\x1b[1;"):
        assert safe_text(introducer * 100_000).count("\x1b") == 0
