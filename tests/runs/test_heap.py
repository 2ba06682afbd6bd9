"""What is free goes back to the system: now, and again after so many rows."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil
import pytest

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.runs.heap import Heap, malloc_trim
from distilabel_endpoints.testing import SimulatedEndpoint

MEBIBYTE = 1024 * 1024
PIECES = 60_000

glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim"
)


def held() -> int:
    """Bytes of this process that are in memory."""
    return int(psutil.Process().memory_info().rss)


def full_of_gaps() -> list[bytes]:
    """What keeps some 60 MB that nothing uses from going back by itself: one piece in 64."""
    pieces = [bytes(1024) for _ in range(PIECES)]
    return pieces[::64]


@glibc_only
def test_free_memory_goes_back() -> None:
    """Gaps between pieces in use are given back, all but the pages that pieces lie on."""
    kept = full_of_gaps()
    before = held()
    malloc_trim()()
    assert before - held() > 30 * MEBIBYTE
    assert len(kept) == -(-PIECES // 64)


@glibc_only
def test_a_run_gives_back_what_its_first_look_left(tmp_path: Path) -> None:
    """A run in a process full of gaps holds less by its end."""
    rows = [{"prompt": f"Question {n}?"} for n in range(4)]
    with SimulatedEndpoint() as endpoint, InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        kept = full_of_gaps()
        before = held()
        generate_dataset(llm, rows, tmp_path / "out.jsonl", progress=open_progress("quiet"))
        assert before - held() > 20 * MEBIBYTE
    assert kept


def test_every_so_many_rows() -> None:
    """Counted from the last time, whoever asked for it."""
    given: list[int] = []
    done = 0
    heap = Heap(every=3, trim=lambda: given.append(done))
    for done in range(1, 9):
        heap.row()
        if done == 4:
            heap.give_back()
    assert given == [3, 4, 7]
