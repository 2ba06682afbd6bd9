"""The watchdog's program: waits for the run that started it to end, and restores the endpoint.

It runs in its own session, so that no signal of the terminal or of the run's process group
reaches it, and as nobody's child. Its standard input is a pipe whose other end only the run holds:
orders come through it, the token among them, and its end is the run's death, whatever it died of.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

__all__ = ["main"]

_IGNORED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE)
"""What ends runs must not end what comes after them. A machine that shuts down ends the run too."""


class _Log:
    """Lines for a person, in a file that only its owner may read. A full disk stops nothing."""

    def __init__(self, path: str, title: str) -> None:
        self._title = title
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor: int | None = os.open(path, flags, 0o600)
        except OSError:
            self._descriptor = None

    def say(self, text: str) -> None:
        if self._descriptor is None:
            return
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        line = f"{stamp} {self._title} {text}\n"
        try:
            os.write(self._descriptor, line.encode())
        except OSError:
            self._descriptor = None


def main() -> None:
    """Be the watchdog of whoever holds the other end of standard input."""
    # The run waits for this process only: the watchdog is nobody's child, and leaves no zombie.
    if os.fork():
        os._exit(0)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if line.endswith(b"\n"):
        _watch(json.loads(line))


def _watch(orders: dict[str, Any]) -> None:
    # What is needed at the end is loaded at the beginning: the environment may be gone by then.
    from distilabel_endpoints.lifecycle.endpoint_api import Control
    from distilabel_endpoints.lifecycle.lease import Lease, duty_from
    from distilabel_endpoints.lifecycle.restore import restore

    control = Control(orders["namespace"], orders["name"], orders["token"], orders["url"])
    lease = Lease(Path(orders["folder"]), orders["own"])
    log = _Log(orders["log"], control.title)
    log.say(f"is watched for process {orders['pid']}; at its end it is to be {orders['then']}")
    _tell({"armed": True})
    duty = duty_from(orders["duty"])
    ordered = False
    for line in iter(sys.stdin.buffer.readline, b""):
        if not line.endswith(b"\n"):
            break  # killed while it wrote
        message = json.loads(line)
        if "dismissed" in message:
            log.say("is not watched any more")
            return
        if "end" in message:
            ordered = True
            break
        duty = duty_from(message["duty"])
    log.say("has no run any more" if ordered else "has no run any more: it died")
    try:
        outcome = restore(
            control, duty, lease, log.say, on_others=lambda pids: _tell({"others": pids})
        )
    except Exception as error:
        log.say(f"may still be running: the watchdog broke ({type(error).__name__}: {error})")
        raise
    log.say(f"{outcome.ending}: {outcome.text}")
    if not ordered and lease.own is not None:
        (lease.folder / lease.own).unlink(missing_ok=True)
    _tell({"ending": outcome.ending, "text": outcome.text})


def _tell(message: dict[str, Any]) -> None:
    """To the run, if it is still there."""
    with suppress(OSError):
        os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
    # A call of the library that hangs must not keep the process.
    os._exit(0)
