"""Bodies that are no UTF-8: repaired once, known to be, and untouched where they are."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._clients.transport import Utf8Repair


def fed(body: bytes, cuts: list[int]) -> tuple[bytes, bool]:
    legible = Utf8Repair()
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    pieces = [legible.feed(body[start:end]) for start, end in pairwise(places)]
    return b"".join([*pieces, legible.feed(b"", last=True)]), legible.repaired


CUTS = st.lists(st.integers(0, 1000), max_size=8)


@given(st.text(), CUTS)
def test_what_is_utf8_comes_through_as_it_is(text: str, cuts: list[int]) -> None:
    """In whatever pieces, U+FFFD of the server's own included."""
    body = (text + "\ufffd").encode()
    assert fed(body, cuts) == (body, False)


@given(st.binary(), CUTS)
def test_what_is_not_is_replaced_and_known(body: bytes, cuts: list[int]) -> None:
    """The same as replacing in the whole body; a character cut in two by a piece is none."""
    whole = body.decode("utf-8", "replace").encode()
    assert fed(body, cuts) == (whole, whole != body)


def test_a_character_cut_off_at_the_end() -> None:
    """Known only at the end, and known then."""
    assert fed("né".encode()[:-1], [1]) == ("n\ufffd".encode(), True)
