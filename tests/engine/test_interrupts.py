"""Interrupts at every moment of a blocking call: what was begun ends, and the next call works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.testing import Latency, SimulatedEndpoint

PROGRAM = Path(__file__).parent / "interrupted_calls.py"


def interrupt(action: str, *arguments: str, at_least: int) -> None:
    """Run the program; it fails with the moment and what was left under way."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), action, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=115,
    )
    assert done.returncode == 0, done.stderr
    _, times, _ = done.stdout.splitlines()[-1].split()
    assert int(times) >= at_least, "the call has fewer moments than that; is it interrupted at all?"


@pytest.mark.parametrize("action", ["generate", "iter_outputs"])
def test_an_interrupt_at_any_moment_leaves_nothing_under_way(action: str) -> None:
    """Every moment from the start to the wait, and a second one at every moment of the clearing up.

    The endpoint answers nothing: a request that nobody waits for any more would stay in flight.
    """
    interrupt(action, "1", "1", "waits", at_least=100)


@pytest.mark.parametrize(
    ("action", "stride"),
    [("generate", 5), ("leave_iter_outputs", 7), ("load", 5), ("generate_dataset", 151)],
)
def test_the_call_after_an_interrupt_works(action: str, stride: int) -> None:
    """At many moments of a call that ends by itself: nothing is left, the next call is answered."""
    interrupt(action, "1", str(stride), at_least=8)


@pytest.mark.prove
@pytest.mark.parametrize(
    ("action", "stride"),
    [
        ("generate", 1),
        ("generate_outputs", 1),
        ("iter_outputs", 1),
        ("leave_iter_outputs", 1),
        ("load", 2),
        ("generate_dataset", 11),
    ],
)
def test_the_call_after_an_interrupt_works_at_every_moment(action: str, stride: int) -> None:
    """The same, at (nearly) every moment."""
    interrupt(action, "1", str(stride), at_least=40)


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("method", ["generate", "iter_outputs"])
def test_a_signal_that_does_not_end_the_wait_is_obeyed(
    method: str, simulated_endpoint: Callable[..., SimulatedEndpoint]
) -> None:
    """Another thread gets it, or it comes just before the wait: the call ends all the same."""
    endpoint = simulated_endpoint(latency=Latency(600))

    def interrupt() -> None:
        endpoint.wait_for(lambda endpoint: bool(endpoint.in_flight), 60)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)

    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        llm.load()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        sender = threading.Thread(target=interrupt)
        try:
            sender.start()
            with pytest.raises(KeyboardInterrupt):
                list(getattr(llm, method)([[{"role": "user", "content": "Hello?"}]]))
        finally:
            sender.join()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert llm.statistics().limiter.in_flight == 0
