"""How often a starting endpoint is looked at, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from distilabel_endpoints._targets.waiting import ReadyWait
from virtual import run_virtually


def test_pauses_grow_and_states_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """Half a second at first, five at most; a state once, and again every 30 s."""

    async def main() -> None:
        wait, times = ReadyWait(100.0), []
        while not wait.is_over:
            times.append(asyncio.get_running_loop().time())
            await wait.pause("it", "pending" if wait.waited < 10 else "initializing")
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps[:3] == pytest.approx([0.5, 0.75, 1.125])
        assert max(gaps) == pytest.approx(5.0)
        assert wait.waited == pytest.approx(100.0)

    with caplog.at_level(logging.WARNING, "distilabel_endpoints"):
        run_virtually(main())
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "it is pending; waited 0 s of 100 s at most"
    assert [line.split(";")[0] for line in lines] == ["it is pending"] + ["it is initializing"] * 3
