"""Interrupts one blocking call at each moment at which Python can, and looks at what is left.

Usage: python interrupted_calls.py ACTION FIRST STRIDE [waits]

Python runs signal handlers (and raises what another thread sent) when a function is entered, after
a call, and when a loop jumps back. A trace function counts these moments in the thread's own code
and raises `KeyboardInterrupt` at number FIRST, in the next round at FIRST + STRIDE, and so on until
the call ends first. With `waits` the endpoint answers nothing, so that what is left under way stays
there, and a real signal ends the wait; the moments after that are a second interrupt's, while the
first one is being obeyed.
"""

from __future__ import annotations

import asyncio
import dis
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import distilabel_endpoints
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._engine import loop
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.testing import Latency, SimulatedEndpoint

ROOT = str(Path(distilabel_endpoints.__file__).parent)
HELLO = [{"role": "user", "content": "Hello world!"}]
_CHECKS = {
    number
    for name, number in dis.opmap.items()
    if name.startswith(("RESUME", "CALL", "JUMP_BACKWARD")) and name != "CALL_INTRINSIC_1"
}
_SIGNAL = 0.3
"""Seconds until a call that waits is sent a real signal."""


class Interrupter:
    """Raises `KeyboardInterrupt` at one moment of the traced thread's code of ours."""

    def __init__(self, moment: int) -> None:
        self._moment = moment
        self._before: dict[FrameType, int] = {}
        self._passed = 0

    @property
    def has_raised(self) -> bool:
        return self._passed >= self._moment

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            if not frame.f_code.co_filename.startswith(ROOT):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event in {"return", "exception"}:
            self._before.pop(frame, None)  # a call that raises is not followed by a check
        if event == "opcode":
            before = self._before.get(frame)
            self._before[frame] = frame.f_code.co_code[frame.f_lasti]
            if before in _CHECKS:
                self._pass()
        return self.trace

    def _pass(self) -> None:
        self._passed += 1
        if self.has_raised:  # and is not called again: Python takes away what raised
            self._before.clear()
            raise KeyboardInterrupt


def is_interrupted(action: Callable[[], object], moment: int, *, waits: bool) -> bool:
    """Do `action`, interrupted at this moment. False: it ended before."""
    interrupter = Interrupter(moment)
    timer = threading.Timer(_SIGNAL, os.kill, (os.getpid(), signal.SIGINT))
    with suppress(KeyboardInterrupt):
        if waits:
            timer.start()
        sys.settrace(interrupter.trace)
        try:
            action()
        finally:
            sys.settrace(None)
    with suppress(KeyboardInterrupt):
        timer.cancel()
    return interrupter.has_raised


def left_over(llm: InferenceEndpointsLLM) -> str:
    """What is under way though nobody waits for it; empty if nothing is."""

    async def look() -> tuple[int, int, int]:
        engine = loop._Current.engine
        assert engine is not None
        given_up = [task._task for task in engine._tasks.values() if task._abandoned]
        if given_up:
            await asyncio.wait([task for task in given_up if task is not None], timeout=20)
        statistics = engine_of(llm).scheduler.statistics()
        return statistics.limiter.in_flight, statistics.waiting, len(engine._tasks)

    llm.load()
    in_flight, waiting, tasks = engine_of(llm).run(look)
    # Tasks: the lease, and the one that looks.
    if (in_flight, waiting, tasks) == (0, 0, 2):
        return ""
    return f"{in_flight} in flight, {waiting} waiting, {tasks - 2} tasks"


def calls(llm: InferenceEndpointsLLM, folder: Path) -> dict[str, Callable[[], object]]:
    """What can be interrupted, by name."""
    from distilabel_endpoints import generate_dataset

    inputs = [HELLO] * 3

    def run() -> object:
        rows = [{"prompt": "Hello"}] * 3
        return generate_dataset(llm, rows, folder / "out.jsonl", fresh=True)

    def first() -> object:
        return next(iter(llm.iter_outputs(inputs)))

    def load() -> None:
        llm.close()
        llm.load()

    return {
        "generate": lambda: llm.generate(inputs),
        "generate_outputs": lambda: llm.generate_outputs(inputs),
        "iter_outputs": lambda: list(llm.iter_outputs(inputs)),
        "leave_iter_outputs": first,
        "load": load,
        "generate_dataset": run,
    }


def threads_more_than(before: int) -> int:
    """How many more there are, when those that are about to end have ended."""
    until = time.monotonic() + 20
    while (more := threading.active_count() - before) > 0 and time.monotonic() < until:
        time.sleep(0.02)
    return more


def main(action: str, first: int, stride: int, folder: Path, *, waits: bool) -> str:
    """Interrupt `action` at every STRIDE-th moment. What was left once, or nothing."""
    latency = Latency(600.0 if waits else 0.0)
    with SimulatedEndpoint(latency=latency, log=False) as endpoint:
        llm = InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=2, timeout=900)
        llm.load()
        call = calls(llm, folder)[action]
        before = threading.active_count()
        for moment in count(first, stride):
            goes_on = is_interrupted(call, moment, waits=waits)
            if left := left_over(llm):
                return f"interrupted at moment {moment}: {left}"
            if not waits and llm.generate([HELLO]) == [[None]]:
                return f"interrupted at moment {moment}: the next call has no answer"
            if not goes_on:
                break
        threads = threads_more_than(before)
        llm.close()
    sys.stdout.write(f"interrupted {(moment - first) // stride} times\n")
    return f"{threads} threads" if threads > 0 else ""


if __name__ == "__main__":
    faulthandler.dump_traceback_later(110, exit=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # may have been ignored
    name, first, stride = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with TemporaryDirectory() as temporary:
        left = main(name, first, stride, Path(temporary), waits="waits" in sys.argv)
    sys.exit(left or 0)
