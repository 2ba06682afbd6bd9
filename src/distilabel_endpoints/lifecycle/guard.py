"""The run's side of the watchdog: starts it, tells it what to restore, reads how that ended."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from pydantic import SecretStr

from distilabel_endpoints.errors import StorageError
from distilabel_endpoints.lifecycle.decisions import Duty
from distilabel_endpoints.lifecycle.lease import Lease, duty_values

__all__ = ["Orders", "Watchdog"]

_START: Final = 60.0
"""Seconds for the watchdog to be ready."""
_FINISH: Final = 60.0
"""Seconds for which a run waits for the endpoint to be restored. The watchdog continues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a watchdog is for."""

    namespace: str
    name: str
    url: str
    """The control plane's."""
    token: SecretStr
    log: Path
    """Its own, for people."""


class Watchdog:
    """A process that restores the endpoint when this one ends. Made by `arm`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders: IO[bytes] = process.stdin
        self._answers: IO[bytes] = process.stdout
        self._rest = b""
        _ALIVE.add(self)

    @classmethod
    def arm(cls, orders: Orders, duty: Duty, lease: Lease) -> Watchdog:
        """Start one, and wait until it is ready.

        Raises:
            StorageError: it cannot be started here.
        """
        token = orders.token.get_secret_value()
        watchdog = cls(_spawn(token))
        watchdog._send(
            {
                "namespace": orders.namespace,
                "name": orders.name,
                "url": orders.url,
                "token": token,
                "log": str(orders.log.absolute()),
                "folder": str(lease.folder),
                "own": lease.own,
                "pid": os.getpid(),
                "then": duty.state,
                "duty": duty_values(duty),
            }
        )
        if (watchdog._hear(_START) or {}).get("armed"):
            return watchdog
        watchdog.close()
        raise StorageError(
            "The process that stops the endpoint if this run dies could not be started, so the "
            "endpoint was not started either. To run without one, choose to keep it running "
            "(--then keep)."
        )

    def tell(self, duty: Duty) -> None:
        """What must be restored from now on."""
        self._send({"duty": duty_values(duty)})

    def dismiss(self) -> None:
        """Nothing must be restored: the watchdog ends and does nothing."""
        self._send({"dismissed": True})
        self.close()

    def finish(self) -> dict[str, Any] | None:
        """The run is over: what became of the endpoint; None: the watchdog does not say.

        An empty answer means that it is still at it, and continues alone.
        """
        self._send({"end": True})
        heard = self._hear(_FINISH)
        self.close()
        return heard

    def close(self) -> None:
        """Let go of the pipes. Without an order before it, that is this run's death."""
        _ALIVE.discard(self)
        for pipe in (self._orders, self._answers):
            with suppress(OSError):
                pipe.close()

    def _send(self, message: dict[str, Any]) -> None:
        # One that died leaves a broken pipe, which `_hear` finds out.
        with suppress(OSError):
            self._orders.write(json.dumps(message).encode() + b"\n")

    def _hear(self, seconds: float) -> dict[str, Any] | None:
        """Its next message; None: it is gone; empty: it has not said anything in that time."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return {}
                read = os.read(self._answers.fileno(), 65536)
                if not read:
                    return None
                self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


_ALIVE: Final[weakref.WeakSet[Watchdog]] = weakref.WeakSet()
"""For forked children: one that kept a pipe would keep this process alive in a watchdog's eyes."""


def _let_go() -> None:
    for watchdog in list(_ALIVE):
        watchdog.close()


os.register_at_fork(after_in_child=_let_go)


def _spawn(token: str) -> subprocess.Popen[bytes]:
    """The watchdog's process. Neither its arguments nor its environment hold the token."""
    environment = {name: value for name, value in os.environ.items() if token not in value}
    # With `-P`, another folder and absolute paths, no module of the run's folder hides another.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "distilabel_endpoints.lifecycle.watchdog"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, map(_absolute, sys.path)))},
        start_new_session=True,
    )
    # The process that was started only forks the watchdog, which so is nobody's child.
    process.wait()
    return process


def _absolute(entry: str) -> str:
    return str(Path(entry).absolute()) if entry else ""
