"""Putting an endpoint back: tried for fifteen minutes, confirmed by reading, never another's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from lifecycle_samples import ADA, CONTROL, KEY, TOKENS, Start, commands, deployment

from distilabel_endpoints.lifecycle.decisions import PATIENCE, Doubt, Duty
from distilabel_endpoints.lifecycle.endpoint_api import Control
from distilabel_endpoints.lifecycle.lease import Lease
from distilabel_endpoints.lifecycle.restore import Ending, Outcome, restore
from distilabel_endpoints.lifecycle.sight import sight_of
from distilabel_endpoints.testing import Fault, Reset, Respond, SimulatedEndpoint


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        """Let that much pass."""
        self.now += seconds


@pytest.fixture
def lease(tmp_path: Path) -> Lease:
    """The use of an endpoint by this process."""
    return Lease(tmp_path, "1-me.use")


def due(state: Any = "paused", doubt: Doubt = Doubt.NONE) -> Duty:
    """What the one who last changed it must restore."""
    raw = HfApi(token=KEY).get_inference_endpoint("mine", namespace="ada").raw
    return Duty(state=state, mark=sight_of(raw, "ada").mark, owner=ADA, doubt=doubt)


def bring(lease: Lease, duty: Duty, clock: Clock | None = None, **more: Any) -> Outcome:
    """Restore it, in no time."""
    clock = clock or Clock()
    control = Control("ada", "mine", KEY)
    lines: list[str] = []
    outcome = restore(
        control, duty, lease, lines.append, sleep=clock.sleep, clock=lambda: clock.now, **more
    )
    assert KEY not in "".join([*lines, outcome.text])
    return outcome


def running(start: Start, **changes: Any) -> SimulatedEndpoint:
    """`ada/mine`, running."""
    faults = changes.pop("faults", ())
    return start(tokens=TOKENS, faults=faults, deployment=deployment("running", **changes))


@pytest.mark.promise("R16")
@pytest.mark.parametrize("state", ["paused", "scaledToZero"])
def test_it_is_put_back_and_read(state: Any, simulated_hugging_face: Start, lease: Lease) -> None:
    """One command, and a look that confirms it."""
    endpoint = running(simulated_hugging_face)
    outcome = bring(lease, due(state))
    assert (outcome.ending, endpoint.state) == (Ending.DONE, state)
    assert len(commands(endpoint)) == 1
    assert endpoint.requests[-1].method == "GET"


def test_a_command_without_effect_is_sent_again(
    simulated_hugging_face: Start, lease: Lease
) -> None:
    """An answer is not believed before the state is read."""
    endpoint = running(simulated_hugging_face, pauses_lost=2)
    assert bring(lease, due()).ending is Ending.DONE
    assert commands(endpoint) == ["pause"] * 3


@pytest.mark.parametrize("action", [Respond(503), Respond(500, "<html>"), Reset()])
def test_failures_are_tried_again(action: Any, simulated_hugging_face: Start, lease: Lease) -> None:
    """Reads and commands alike, whatever the control plane says or breaks."""
    faults = (Fault(action, path=CONTROL, times=3), Fault(action, path=f"{CONTROL}/pause", times=3))
    endpoint = running(simulated_hugging_face)
    duty = due()
    endpoint.add_faults(*faults)
    assert bring(lease, duty).ending is Ending.DONE
    assert endpoint.state == "paused"


@pytest.mark.promise("R16")
def test_it_is_given_up_after_fifteen_minutes(simulated_hugging_face: Start, lease: Lease) -> None:
    """With a sentence that says what may still cost money, and what to do."""
    running(simulated_hugging_face, faults=(Fault(Respond(503), path=f"{CONTROL}/pause"),))
    clock = Clock()
    outcome = bring(lease, due(), clock)
    assert outcome.ending is Ending.GAVE_UP
    assert "may still be running" in outcome.text
    assert PATIENCE <= clock.now < PATIENCE + 30


def test_what_somebody_else_changed_is_not_touched(
    simulated_hugging_face: Start, lease: Lease
) -> None:
    """The message says who did it, and when."""
    endpoint = running(simulated_hugging_face)
    duty = due()
    endpoint.touch_deployment(by="bob")
    outcome = bring(lease, duty)
    assert (outcome.ending, endpoint.state) == (Ending.LEFT, "running")
    assert "changed by bob at 2024-01-01T" in outcome.text
    assert commands(endpoint) == []


def test_a_change_between_two_commands_ends_it(simulated_hugging_face: Start, lease: Lease) -> None:
    """Somebody who steps in while a pause is tried again keeps the endpoint."""
    endpoint = running(simulated_hugging_face, pauses_lost=100)
    clock = Clock()
    duty = due()

    class Meddled(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.now > 100:
                endpoint.touch_deployment(by="bob")

    clock = Meddled()
    assert bring(lease, duty, clock).ending is Ending.LEFT
    assert endpoint.state == "running"


def test_an_answer_that_was_lost_is_not_taken_for_somebody_else(
    simulated_hugging_face: Start, lease: Lease
) -> None:
    """The command was carried out and its answer never came: the change is ours."""
    endpoint = running(simulated_hugging_face, pause_seconds=1e6)
    duty = due()
    # As if the command had reached the service and its answer had been lost on the way.
    HfApi(token=KEY).pause_inference_endpoint("mine", namespace="ada")
    left = bring(lease, duty)
    assert left.ending is Ending.LEFT
    doubtful = Duty(state="paused", mark=duty.mark, owner=ADA, doubt=Doubt.STOP)
    assert bring(lease, doubtful).ending is Ending.GAVE_UP
    assert endpoint.state == "running"


def test_an_endpoint_that_is_gone_is_nobodys_debt(
    simulated_hugging_face: Start, lease: Lease
) -> None:
    """404 ends it."""
    endpoint = running(simulated_hugging_face)
    duty = due()
    endpoint.add_faults(Fault(Respond(404), path=CONTROL))
    assert bring(lease, duty).ending is Ending.LEFT


def test_a_start_on_its_way_is_waited_for(simulated_hugging_face: Start, lease: Lease) -> None:
    """The run died while it asked for a start: what comes up afterwards is put back."""
    endpoint = simulated_hugging_face(tokens=TOKENS, deployment=deployment("paused"))
    duty = due(doubt=Doubt.START)

    class Late(Clock):
        def sleep(self, seconds: float) -> None:
            if self.now < 5 <= self.now + seconds:
                HfApi(token=KEY).resume_inference_endpoint("mine", namespace="ada")
            super().sleep(seconds)

    assert bring(lease, duty, Late()).ending is Ending.DONE
    assert (commands(endpoint), endpoint.state) == (["resume", "pause"], "paused")


HOLDS = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_others_on_this_machine_are_waited_for(simulated_hugging_face: Start, lease: Lease) -> None:
    """While another process uses it, it runs; when that one is killed, it is put back."""
    endpoint = running(simulated_hugging_face)
    duty = due()
    lease.note_duty(duty)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS, lease.folder / "77-other.use"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    other.stdout.readline()
    assert bring(lease, duty).ending is Ending.LEFT
    told: list[list[int]] = []

    class Waits(Clock):
        def sleep(self, seconds: float) -> None:
            if other.returncode is None:
                assert endpoint.state == "running"
                other.kill()
                other.communicate()
            super().sleep(seconds)

    assert bring(lease, duty, Waits(), on_others=told.append).ending is Ending.DONE
    assert (told, endpoint.state) == ([[77]], "paused")
    assert lease.duty() is None


def test_what_must_be_restored_can_be_read_back(lease: Lease) -> None:
    """By the next run, from its file; damage is not a debt."""
    assert lease.duty() is None
    duty = Duty(state="scaledToZero", mark=lifecycle_mark(), owner=ADA, doubt=Doubt.START)
    lease.note_duty(duty)
    assert lease.duty() == duty
    (lease.folder / "duty").write_text("{")
    assert lease.duty() is None


def lifecycle_mark() -> Any:
    """Any mark."""
    return sight_of({"status": {"updatedAt": "x", "updatedBy": {"name": "é"}}}, "ada").mark
