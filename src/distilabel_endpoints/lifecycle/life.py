"""A dedicated endpoint for the length of a run: started, watched, and left as it was found.

Order at the start: look, have the watchdog ready, note what must be restored, start. At the end the
watchdog restores it, whether the run ended by itself or was killed; a run that is still there waits
for it and reports how it went.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from huggingface_hub import HfApi, constants
from pydantic import SecretStr

from distilabel_endpoints._engine.loop import Task
from distilabel_endpoints._targets.credentials import saved_token, sendable_token
from distilabel_endpoints._targets.hub import ask_hub, read_endpoint, start_endpoint
from distilabel_endpoints.lifecycle.decisions import Doubt, Duty, Then, is_changed, state_to_restore
from distilabel_endpoints.lifecycle.endpoint_api import Control, Trouble
from distilabel_endpoints.lifecycle.for_runs import check_then
from distilabel_endpoints.lifecycle.guard import Orders, Watchdog
from distilabel_endpoints.lifecycle.hardware_prices import HourlyPrice, RunningCost, hourly_price
from distilabel_endpoints.lifecycle.lease import Lease, state_folder
from distilabel_endpoints.lifecycle.restore import Outcome, restore
from distilabel_endpoints.lifecycle.sight import Person, Sight, sight_of
from distilabel_endpoints.records import Failure

if TYPE_CHECKING:
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

__all__ = ["EndpointLife", "Plane", "endpoint_life", "safety_text"]

logger = logging.getLogger("distilabel_endpoints")

_WHILE_STARTING: Final = 2.0
_LAST_LOOK: Final = 5.0
_WHILE_RUNNING: Final = 10.0
"""Seconds between two looks at the replicas."""


@contextmanager
def endpoint_life(
    llm: InferenceEndpointsLLM,
    then: Then | None = None,
    *,
    log: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[EndpointLife | None]:
    """Use `llm`'s dedicated endpoint for the length of the block, and leave it as `then` says.

    It is started if it sleeps, as `llm.load()` does. Whatever ends the program, a watchdog in a
    separate process puts the endpoint back.

        with endpoint_life(llm, then="restore"):
            llm.generate(inputs)

    Args:
        llm: has an `endpoint_name`; with another target nothing is done.
        then: `restore` (default): asleep again if this block woke it, else as it was found; `pause`
            or `scale-to-zero` in any case; `keep`: as it is at the end.
        log: the watchdog's log; default: a file in the folder for this user's programs' state.
        say: takes what is to be shown to the user; default: the logger `distilabel_endpoints`.

    Raises:
        ConfigurationError: `then` is not one of these, or the target is not a dedicated endpoint.
        RunError: the endpoint cannot be read or started.
        StorageError: the watchdog cannot be started; the endpoint was not started either.
    """
    wanted = check_then(then, has_endpoint=llm.endpoint_name is not None)
    if llm.endpoint_name is None:
        yield None
        return
    life = EndpointLife(llm, wanted, log, say or logger.warning)
    try:
        life.begin()
        yield life
    finally:
        life.end()


class Plane:
    """The control plane as a run asks it: retried, bounded in time, with typed errors.

    Args:
        name: the endpoint's.
        namespace: whose it is; None: the token's own user.
        key: the token that was given or lies in the environment; None: the saved one.
    """

    def __init__(self, name: str, namespace: str | None, key: SecretStr | None) -> None:
        token = key or saved_token()
        self.token = sendable_token(token, "api_key") if token else None
        self._api = HfApi(token=self.token.get_secret_value() if self.token else None)
        self._name = name
        self._namespace = namespace

    @classmethod
    def of(cls, llm: InferenceEndpointsLLM) -> Plane:
        """The one of the dedicated endpoint that `llm` names."""
        assert llm.endpoint_name is not None
        return cls(llm.endpoint_name, llm.endpoint_namespace, llm.api_key)

    def read(self) -> Sight:
        """The endpoint as it is. Wakes nothing.

        Raises:
            RunError: it cannot be read.
        """
        self._endpoint = Task(read_endpoint, self._api, self._name, self._namespace).run()
        self._namespace = self._endpoint.namespace
        return sight_of(self._endpoint.raw, self._endpoint.namespace)

    def start(self) -> Sight:
        """Start it; it was read before.

        Raises:
            RunError: this token may not.
        """
        started = Task(start_endpoint, self._api, self._endpoint).run()
        return sight_of(started.raw, self._endpoint.namespace)

    def price(self, sight: Sight) -> HourlyPrice | None:
        """What it costs; None if the list of hardware does not say."""
        listed = self._ask(
            lambda: self._api.list_inference_endpoints_hardware(namespace=sight.namespace)
        )
        return None if isinstance(listed, Failure) else hourly_price(sight, listed)

    def owner(self) -> Person:
        """Whose token it is; empty if that is not known."""
        who = self._ask(self._api.whoami)
        if isinstance(who, Failure):
            return Person("", "")
        return Person(str(who.get("id", "")), str(who.get("name", "")))

    def let_it_sleep(self, minutes: int) -> Sight | Failure:
        """Have it scale to zero after N minutes without a request."""
        updated = self._ask(
            lambda: self._api.update_inference_endpoint(
                self._name,
                namespace=self._namespace,
                min_replica=0,
                scale_to_zero_timeout=minutes,
            )
        )
        return (
            updated if isinstance(updated, Failure) else sight_of(updated.raw, str(self._namespace))
        )

    def _ask(self, call: Callable[[], Any]) -> Any:
        return Task(ask_hub, call).run()


class EndpointLife:
    """One endpoint, from a run's start to its end. Made by `endpoint_life`."""

    def __init__(
        self, llm: InferenceEndpointsLLM, then: Then, log: Path | None, say: Callable[[str], None]
    ) -> None:
        self._llm = llm
        self._then = then
        self._log = log
        self._say = say
        self._plane = Plane.of(llm)
        self._lease: Lease | None = None
        self._duty: Duty | None = None
        self._watchdog: Watchdog | None = None
        self._over = threading.Event()
        name = "distilabel-endpoints-replicas"
        self._follower = threading.Thread(target=self._follow, name=name, daemon=True)
        self._cost = RunningCost()
        self._ready = 0
        self.price: HourlyPrice | None = None
        """What the endpoint costs; None: it is not known."""

    def begin(self) -> None:
        """Look, get ready for the end, and start the endpoint if it sleeps."""
        if self._plane.token is None:
            return  # nobody can do anything, as `load` reports
        first = self._plane.read()
        url = constants.INFERENCE_ENDPOINTS_ENDPOINT
        lease = Lease.of(url, first.namespace, first.name)
        with lease.turn():
            lease.enter()
            self._lease = lease
            # Again: another run here may have started or stopped it before this turn.
            sight = self._plane.read()
            self.price = self._plane.price(sight)
            self._duty = self._new_duty(sight, lease)
            if self._duty is not None:
                self._guard(sight, self._duty, lease)
            self._say(_start_text(sight, self.price, self._duty))
            if not sight.stops_itself and self._then != "keep":
                self._say(safety_text(sight, self.price))
            if sight.is_asleep:
                sight = self._start(lease)
        self._see(sight)
        self._follower.start()

    def _new_duty(self, sight: Sight, lease: Lease) -> Duty | None:
        """What this run will have to restore."""
        earlier = lease.duty()
        # It sleeps already, or somebody else has changed it: what an earlier run owed is settled.
        if earlier is not None and (sight.is_asleep or is_changed(earlier, sight)):
            earlier = None
        state = state_to_restore(self._then, sight, earlier.state if earlier else None)
        if state is None:
            lease.clear()
            return None
        mark = earlier.mark if earlier else sight.mark
        # With `wake` this run may start the endpoint again at any time.
        starts = sight.is_asleep or self._llm.wake
        doubt = Doubt.START if starts else earlier.doubt if earlier else Doubt.NONE
        return Duty(state=state, mark=mark, owner=self._plane.owner(), doubt=doubt)

    def _guard(self, sight: Sight, duty: Duty, lease: Lease) -> None:
        assert self._plane.token is not None
        orders = Orders(
            namespace=sight.namespace,
            name=sight.name,
            url=constants.INFERENCE_ENDPOINTS_ENDPOINT,
            token=self._plane.token,
            log=self.log_path(sight),
        )
        self._watchdog = Watchdog.arm(orders, duty, lease)
        lease.note_duty(duty)

    def log_path(self, sight: Sight) -> Path:
        """Where the watchdog writes what it does."""
        return self._log or state_folder() / f"{sight.namespace}-{sight.name}.log"

    def _start(self, lease: Lease) -> Sight:
        started = self._plane.start()
        duty = self._duty
        if duty is None or self._watchdog is None:
            return started
        # If it is not known whose token this is, the start is taken for ours.
        if not started.mark.by.is_same(duty.owner) and duty.owner != Person("", ""):
            self._say(
                f"endpoint {started.title} was started by {started.mark.by.name} meanwhile: it is "
                "left running at the end."
            )
            self._watchdog.dismiss()
            self._watchdog = self._duty = None
            lease.clear()
            return started
        doubt = Doubt.START if self._llm.wake else Doubt.NONE
        self._duty = replace(duty, mark=started.mark, doubt=doubt)
        self._watchdog.tell(self._duty)
        lease.note_duty(self._duty)
        return started

    def end(self) -> None:
        """Restore the endpoint, and report how it went. An interrupt leaves it to the watchdog."""
        self._over.set()
        if self._follower.is_alive():
            self._follower.join(_LAST_LOOK)
        watchdog, lease = self._watchdog, self._lease
        try:
            if watchdog is not None and lease is not None:
                self._tell_end(watchdog.finish(), lease)
            elif self.price is not None:
                self._say(self._cost_text())
        finally:
            if watchdog is not None:
                watchdog.close()
            if lease is not None:
                lease.leave()

    def _tell_end(self, heard: dict[str, Any] | None, lease: Lease) -> None:
        if heard is None:
            outcome = self._restore(lease)
            self._say(f"endpoint {outcome.text}.")
        elif "others" in heard:
            users = ", ".join(map(str, heard["others"]))
            self._say(
                f"The endpoint is still used by process {users} on this machine. It is restored "
                "when that ends."
            )
        elif not heard:
            self._say(
                "The endpoint is not stopped yet. A process in the background tries for 15 "
                "minutes and writes what it does into its log."
            )
        else:
            if heard["ending"] == "done":
                self._cost.count(0, time.monotonic())
            self._say(f"endpoint {heard['text']}.")
        self._say(self._cost_text())

    def _restore(self, lease: Lease) -> Outcome:
        """The watchdog is gone: do it here."""
        assert self._duty is not None
        assert self._plane.token is not None
        control = self._control()
        return restore(control, self._duty, lease, logger.info)

    def _control(self) -> Control:
        assert self._lease is not None
        sight = self._plane.read()
        token = self._plane.token.get_secret_value() if self._plane.token else ""
        return Control(sight.namespace, sight.name, token)

    def _cost_text(self) -> str:
        minutes = self._cost.minutes(time.monotonic())
        noun = "minute" if minutes == 1 else "minutes"
        text = f"The endpoint was up for {minutes:,} begun replica {noun} of this run"
        if self.price is None:
            return f"{text}; its price is not known."
        return f"{text}: ${self._cost.dollars(self.price, time.monotonic()):,.2f}."

    def _follow(self) -> None:
        """Look at the replicas now and then: they are shown, and the engine tries more at once."""
        control, is_over = self._control(), False
        while not is_over:
            # The last look is at the end: it counts for the cost.
            is_over = self._over.wait(_WHILE_RUNNING if self._ready else _WHILE_STARTING)
            seen = control.read()
            if not isinstance(seen, Trouble):
                self._see(seen)

    def _see(self, seen: Sight) -> None:
        self._cost.see(seen, time.monotonic())
        before, self._ready = self._ready, seen.ready
        if not before or seen.ready == before or self._over.is_set():
            return
        cost = f": ${self.price.replica * seen.ready:,.2f}/h" if self.price else ""
        self._say(f"{seen.ready} of at most {seen.most} replicas of {seen.title} run{cost}.")
        if seen.ready > before:
            with suppress(Exception):  # a hint, and the run may be over
                self._llm.note_capacity("more replicas")


def _start_text(sight: Sight, price: HourlyPrice | None, duty: Duty | None) -> str:
    cost = price.describe() if price else "the price is not known"
    starts = "; starting it" if sight.is_asleep else ""
    then = f" At the end it is {_name(duty.state)}." if duty else " It is left running at the end."
    return (
        f"endpoint {sight.title} is {_name(sight.state)}{starts}. It runs on {sight.hardware}: "
        f"{cost}.{then}"
    )


def _name(state: str) -> str:
    return "scaled to zero" if state == "scaledToZero" else state


def safety_text(sight: Sight, price: HourlyPrice | None) -> str:
    """What nobody but the service itself can do, and how to have it done."""
    cost = f" at ${price.replica:,.2f}/h" if price else ""
    return (
        f"Warning: {sight.title} does not scale to zero by itself. If this machine or container "
        f"goes down, it keeps running{cost}. To set it, while it is paused: distilabel-endpoints "
        f"endpoint {sight.name} --namespace {sight.namespace} --scale-to-zero-after 15"
    )
