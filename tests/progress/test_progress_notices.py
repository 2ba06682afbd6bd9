"""What is logged and warned of while a command runs, as its display shows it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from dataclasses import replace
from typing import Any

import pytest
from run_states import RUNNING

from distilabel_endpoints.progress import open_progress, showing_notices
from distilabel_endpoints.run_state import RunPhase, RunSnapshot

LOGGER = logging.getLogger("distilabel_endpoints")
LOOKING = RunSnapshot(elapsed=0.0, phase=RunPhase.SCANNING)


def wait_for(text: str) -> None:
    """Log as a wait for an endpoint does."""
    LOGGER.warning("it takes a while", extra={"waiting_for": text})


def events_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_wait_is_part_of_the_state_until_it_is_over() -> None:
    """Its seconds count from its start, and with the first limit nothing of it is left."""
    stream = io.StringIO()
    with showing_notices(open_progress("json", stream=stream)) as progress, progress:
        progress.update(LOOKING)
        wait_for("not ready (503)")
        progress.update(replace(LOOKING, elapsed=1.0))
        wait_for("not ready (502)")
        progress.update(replace(LOOKING, elapsed=2.0))
        progress.update(replace(LOOKING, elapsed=3.0, limit=32))
        progress.update(replace(RUNNING, elapsed=4.0))
    events = events_of(stream)
    assert [event["phase"] for event in events] == [
        "scanning",
        "waiting",
        "waiting",
        "scanning",
        "running",
    ]
    waits = [event["waiting"] for event in events]
    assert [wait and wait["text"] for wait in waits] == [
        None,
        "not ready (503)",
        "not ready (502)",
        None,
        None,
    ]
    assert waits[2]["elapsed"] >= waits[1]["elapsed"]


def test_other_notices_are_remarks() -> None:
    """A warning and a log line are messages, without the place in the code."""
    stream = io.StringIO()
    with showing_notices(open_progress("json", stream=stream)) as progress, progress:
        LOGGER.warning("starting %s", "it")
        with pytest.warns(UserWarning, match="kept"):
            warnings.warn("kept by who catches warnings", UserWarning, stacklevel=1)
        warnings.showwarning("no key is sent", UserWarning, "file.py", 1)
        LOGGER.info("for developers")
    texts = [event["text"] for event in events_of(stream)]
    assert texts == ["starting it", "Warning: no key is sent"]


def test_before_the_display_is_open_a_wait_is_a_remark() -> None:
    """As for `--dry-run`, which has no display."""
    stream = io.StringIO()
    with showing_notices(open_progress("plain", stream=stream)):
        wait_for("not ready")
    assert stream.getvalue() == "it takes a while\n"


def test_afterwards_logging_and_warnings_are_as_before() -> None:
    """Nothing stays installed, also after an error."""
    before = (list(LOGGER.handlers), warnings.showwarning)
    with pytest.raises(ZeroDivisionError), showing_notices(open_progress("quiet")):
        raise ZeroDivisionError
    assert (LOGGER.handlers, warnings.showwarning) == before
