"""The process llama.cpp runs in: started, waited for, ended, and its failures reported as ours."""

from __future__ import annotations

import http.client
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from distilabel_endpoints.errors import ConfigurationError, InstallationError, UnavailableError
from distilabel_endpoints.records import Failure, FailureKind

__all__ = ["await_address", "check_health", "crash", "end", "refusal", "spawn"]

# How long an OpenMP thread turns on the spot for its fellows before it sleeps. With libgomp's own
# 300,000, one busy neighbour on a core takes two thirds of the speed, a crowd nearly all.
_SHORT_SPIN: Final = {"GOMP_SPINCOUNT": "300"}
_PROGRAM: Final = Path(__file__).with_name("llama.py")
_LOGGED_ERROR: Final = re.compile(r"^[\d.]+ E (?P<said>.+)", re.MULTILINE)
_CONNECT_TO: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


def spawn(settings: dict[str, Any], log: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Run `llama.py` on `settings`; what it logs goes to `log`, or to our stderr."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", str(_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        bufsize=0,
        env=_SHORT_SPIN | os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        # A separate session, so that the terminal's Ctrl-C reaches only us.
        start_new_session=True,
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it ended already, and its exit code says why
        process.stdin.write(json.dumps(settings).encode() + b"\n")
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """End it at once; it holds nothing that needs a farewell.

    In a fork of ours `Popen` finds that it is not its child, and signals nobody.
    """
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def await_address(process: subprocess.Popen[bytes], deadline: float) -> str | None:
    """Where it listens, once the model is loaded; `None` if it ended instead."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(max(0.0, deadline - time.monotonic())):
            raise _unavailable(
                "llama.cpp is still loading the model", "give it a longer start_timeout"
            )
    line = process.stdout.readline()
    if not line:
        return None
    parts = urlsplit(json.loads(line)["address"])
    host, _, port = parts.netloc.rpartition(":")
    return f"{parts.scheme}://{_CONNECT_TO.get(host, host)}:{port}"


def check_health(address: str, deadline: float) -> None:
    """UnavailableError unless `/health` answers 200."""
    parts = urlsplit(address)
    timeout = max(1.0, deadline - time.monotonic())
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise _unavailable(f"llama.cpp does not answer at {address}: {error}") from None
    finally:
        connection.close()
    if status != 200:
        raise _unavailable(f"llama.cpp answers {status} at {address}/health")


def refusal(code: int, log: IO[bytes], path: Path) -> Exception:
    """Why it ended before it listened: the first error it logged, or its last words."""
    if code < 0:
        return crash(code)
    log.seek(0)
    text = log.read().decode(errors="replace").strip()
    first = _LOGGED_ERROR.search(text)
    reason = first["said"] if first else text.rpartition("\n")[2]
    if code == 2:
        return InstallationError(f"xllamacpp is installed and cannot be imported: {reason}")
    shown = reason or "its output above says why"
    return ConfigurationError(f"llama.cpp cannot serve {path}: {shown}")


def crash(code: int) -> UnavailableError:
    """It ended, and nobody asked it to."""
    if code >= 0:
        return _unavailable(f"llama.cpp ended with exit code {code}")
    name = signal.Signals(-code).name
    hint = "the machine may be out of memory: try fewer slots or a smaller context"
    return _unavailable(f"llama.cpp was ended by {name}", hint if name == "SIGKILL" else None)


def _unavailable(message: str, hint: str | None = None) -> UnavailableError:
    return UnavailableError(
        Failure(kind=FailureKind.UNAVAILABLE, code="unavailable", message=message, hint=hint)
    )
