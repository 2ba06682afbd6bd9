"""Starts and ends the embedded endpoint, and says where it listens.

llama.cpp runs in a separate process (`llama.py` says why): Ctrl-C stays ours, nothing here waits
for it at exit, and should it crash, it takes no unwritten result with it. That process ends with
`close()`, with its `LocalEndpoint`, with the interpreter, or by itself when we are killed.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from distilabel_endpoints.errors import ConfigurationError, InstallationError
from distilabel_endpoints.local import process
from distilabel_endpoints.local.gguf import find_model, name_of

__all__ = ["LocalEndpoint"]

_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


class LocalEndpoint:
    """llama.cpp's HTTP server with a GGUF model, on this machine.

        with LocalEndpoint() as endpoint:
            llm = InferenceEndpointsLLM(base_url=endpoint.base_url)

    It answers `/v1/chat/completions`, `/v1/completions`, `/v1/models`, `/health`, `/metrics`,
    `/props` and `/slots`. Several may run at once; one that was closed may be started again.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        slots: int = 4,
        context: int = 2048,
        threads: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        start_timeout: float = 300.0,
        verbose: bool = False,
    ) -> None:
        """Nothing runs before `start` (or `with`).

        Args:
            model: a GGUF file, or `hf://owner/repository/file.gguf`; default: `find_default_model`.
            slots: requests worked on at once; further ones queue. Also the most `n` may be.
            context: tokens of one request, prompt and answer together.
            threads: CPU threads; default: the physical cores, or fewer if we may use fewer.
            host: address to listen on. Nothing asks for a key: beyond this machine, guard it.
            port: 0 takes a free one.
            start_timeout: seconds for the model to load.
            verbose: let llama.cpp write its log to stderr.

        Raises:
            ConfigurationError: a value is out of its range.
        """
        _check_range("slots", slots, 1, 256)
        _check_range("context", context, 16, 2**24)
        _check_range("threads", 1 if threads is None else threads, 1, 512)
        _check_range("port", port, 0, 65535)
        self._model = model
        self._start_timeout = start_timeout
        self._settings: dict[str, Any] = {
            "slots": slots,
            "context": context,
            "threads": threads or _default_threads(),
            "host": host,
            "port": port,
            "verbose": verbose,
        }
        self._lock = threading.Lock()
        self._running: _Running | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`. ConfigurationError while it is not running."""
        return self._current().base_url

    @property
    def model_name(self) -> str:
        """The name the model is served under: its file's, without folder and suffix."""
        return self._current().model_name

    def start(self) -> Self:
        """Load the model and listen; returns when requests are answered. Again: does nothing.

        Raises:
            InstallationError: `xllamacpp` or the default model is missing.
            ConfigurationError: `model` is not a model, or the address cannot be listened on.
            UnavailableError: llama.cpp crashed, or was not ready within `start_timeout`.
        """
        with self._lock:
            if self._running is None:
                self._running = self._launch()
        return self

    def close(self) -> None:
        """End it, with all requests in flight. Again, or in a forked process: does nothing."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None:
                running.end()

    def wait(self) -> None:
        """Block until it is closed. UnavailableError if it ended by itself."""
        code = self._current().child.wait()
        if self._running is not None:
            raise process.crash(code)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _current(self) -> _Running:
        running = self._running
        if running is None:
            raise ConfigurationError("The embedded endpoint is not running; call start() first.")
        return running

    def _launch(self) -> _Running:
        if importlib.util.find_spec("xllamacpp") is None:
            raise InstallationError(
                "The embedded endpoint needs llama.cpp:"
                ' run `pip install "distilabel-endpoints[local]"`.'
            )
        path = find_model(self._model)
        _check_address(self._settings["host"], self._settings["port"])
        settings = {**self._settings, "path": str(path), "name": name_of(path)}
        deadline = time.monotonic() + self._start_timeout
        with tempfile.TemporaryFile() as log:
            child = process.spawn(settings, None if settings["verbose"] else log)
            end = weakref.finalize(self, process.end, child)
            try:
                address = process.await_address(child, deadline)
                if address is None:
                    raise process.refusal(child.wait(), log, path)
                process.check_health(address, deadline)
            except BaseException:
                end()
                raise
        return _Running(child=child, base_url=address, model_name=settings["name"], end=end)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    child: subprocess.Popen[bytes]
    base_url: str
    model_name: str
    end: weakref.finalize[[subprocess.Popen[bytes]], LocalEndpoint]


def _check_address(host: str, port: int) -> None:
    """ConfigurationError if nothing can listen there: llama.cpp may end before it has said so."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"llama.cpp cannot listen on host: {host}, port: {port} ({error.strerror})."
            " Give an address of this machine and a free port; port 0 takes one."
        ) from None


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigurationError(f"{name} must be from {low} to {high}, not {value}.")


def _default_threads() -> int:
    """-1, llama.cpp's own choice (the physical cores), unless this process may use fewer.

    A thread without its own core makes all others wait: 4 on 2 cores give a third of the
    speed of 2.
    """
    present = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    usable = min(usable, _cpu_quota())
    return usable if usable < present else -1


def _cpu_quota() -> int:
    """Whole CPUs the container's quota allows (cgroup v2); without one, more than there are."""
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return sys.maxsize
