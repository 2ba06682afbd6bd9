"""Commands without their imports: one process imports the command once, and forks for each.

A new process spends a second of processor time on imports before a command does anything, and the
tests start hundreds. A fork is a process of its own, too: pid, signals, streams, working folder and
environment are its own, and it ends as an interpreter ends. What is read while modules are imported
is not its own, so `forks` is false for an environment that differs in such a variable.

As a program this module is the server, on the socket whose number is its argument.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final, Self

IMPORTED: Final = (
    "aiohttp",
    "anyio._backends._asyncio",
    "anyio.streams.memory",
    "distilabel_endpoints._clients.hub",
    "distilabel_endpoints._targets.connect",
    "distilabel_endpoints._targets.pricing",
    "distilabel_endpoints.cli",
    "distilabel_endpoints.commands",
    "distilabel_endpoints.llms.huggingface",
    "distilabel_endpoints.runs.local",
    "distilabel_endpoints.spending.price_table",
    "jinja2",
)
"""What nearly every command imports. None of it may start a thread."""
READ_ON_IMPORT: Final = ("HF_", "HUGGINGFACE_", "PYTHON", "XDG_CACHE_HOME", "HOME", "LANG", "LC_")
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
CLOSED: Final = ("<&-", ">&-", "2>&-")
LONGEST: Final = 200_000


class Command:
    """A command that runs, with what tests use of `subprocess.Popen[str]`."""

    def __init__(self, pid: int, status: int, pipes: Sequence[IO[str] | None]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = pipes
        self._status = status
        self._read: dict[int, bytearray] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe:
                pipe.close()
        self.wait()

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, when it has ended."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """To the command, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """As a supervisor does it."""
        self.send_signal(signal.SIGTERM)

    def communicate(self, input: str | None = None, timeout: float | None = None) -> Any:  # noqa: A002
        """What it wrote, when it has ended. After `TimeoutExpired` nothing read is lost."""
        until = None if timeout is None else time.monotonic() + timeout
        if self.stdin and not self.stdin.closed:
            try:
                self.stdin.write(input or "")
                self.stdin.close()
            except BrokenPipeError:
                pass
        with selectors.DefaultSelector() as selector:
            for pipe in (self.stdout, self.stderr):
                if pipe and not pipe.closed:
                    selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(_left(until)) or self._late(until):
                    piece = os.read(key.fd, 65536)
                    self._read.setdefault(id(key.fileobj), bytearray()).extend(piece)
                    if not piece:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()  # type: ignore[union-attr]
        self.wait(_left(until))
        return self._text(self.stdout), self._text(self.stderr)

    def _late(self, until: float | None) -> list[Any]:
        if until is not None and time.monotonic() >= until:
            raise subprocess.TimeoutExpired("", 0)
        return []

    def _text(self, pipe: IO[str] | None) -> str:
        text = self._read.get(id(pipe), b"").decode()
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    return None
            self.returncode = int(os.read(self._status, 8))
            os.close(self._status)
        return self.returncode


class ForkServer:
    """The server's side in the tests' process. It ends when that process ends."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._fixed = _read_on_import(environment)
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=dict(environment),
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End it; commands that run are left alone."""
        self._socket.close()
        self._process.wait()

    def forks(self, words: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a command with this environment can be a fork of what is imported here."""
        small = sum(map(len, [*words, *environment, *environment.values()])) < LONGEST / 2
        return small and _read_on_import(environment) == self._fixed

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        code: str,
        *,
        feed: bool,
        closed: str,
    ) -> Command:
        """Start `python -m distilabel_endpoints WORDS`, or `python -c CODE WORDS`.

        With `feed` its standard input is a pipe; `closed` are streams closed as in a shell.
        """
        ignored = [s for s in SIGNALS if signal.getsignal(s) is signal.SIG_IGN]
        request = {
            "words": list(words),
            "environment": dict(environment),
            "code": code,
            "folder": os.getcwd(),  # noqa: PTH109
            "ignored": ignored,
            "closed": [CLOSED.index(word) for word in closed.split()],
        }
        inputs = os.pipe() if feed else (os.dup(0), None)
        outputs, errors, status = os.pipe(), os.pipe(), os.pipe()
        theirs = [inputs[0], outputs[1], errors[1], status[1]]
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], theirs)
            pid = int(self._socket.recv(100))
        for number in theirs:
            os.close(number)
        stdin = None if inputs[1] is None else os.fdopen(inputs[1], "w", encoding="utf-8")
        readable = [os.fdopen(end, encoding="utf-8") for end in (outputs[0], errors[0])]
        return Command(pid, status[0], [stdin, *readable])


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def _read_on_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_ON_IMPORT) and name != "HF_TOKEN"
    }


def serve(connection: socket.socket) -> dict[str, Any]:
    """Fork for every request; returns it in the fork. The server itself exits here."""
    woken, wakes = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        if woken in ready:
            os.read(woken, 4096)
            _report_ended(running)
        if connection not in ready:
            continue
        message, streams, *_ = socket.recv_fds(connection, LONGEST, 4)
        if not message:
            raise SystemExit(0)
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            selector.close()
            connection.close()
            request: dict[str, Any] = json.loads(message)
            _become(request, streams, [woken, wakes, *running.values()])
            return request
        running[pid] = streams.pop()
        for stream in streams:
            os.close(stream)
        connection.send(str(pid).encode())


def _report_ended(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        end = running.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it
            os.write(end, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(end)


def _become(request: dict[str, Any], streams: list[int], others: list[int]) -> None:
    """Make of the fork what a new process would be."""
    for number, stream in enumerate(streams[:3]):
        os.dup2(stream, number)
    for number in [*streams, *others]:
        os.close(number)
    for number in request["closed"]:
        os.close(number)
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for one in SIGNALS:
        usual = {signal.SIGINT: signal.default_int_handler, signal.SIGPIPE: signal.SIG_IGN}
        handler: Any = usual.get(one, signal.SIG_DFL)
        signal.signal(one, signal.SIG_IGN if one in request["ignored"] else handler)
    os.environ.clear()
    os.environ |= request["environment"]
    os.chdir(request["folder"])
    sys.path[0] = "" if request["code"] else request["folder"]


def main() -> None:
    """Import, serve, and in each fork run what was asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in IMPORTED:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        request = serve(connection)
    sys.argv = ["-c", *request["words"]]
    if request["code"]:
        main_module = types.ModuleType("__main__")
        sys.modules["__main__"] = main_module
        exec(request["code"], vars(main_module))
    else:
        runpy.run_module("distilabel_endpoints", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
