"""A Ray cluster for the length of a command: one that is there, or one on this machine."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from distilabel_endpoints.errors import RunError, TargetError
from distilabel_endpoints.ray.package import ray_package
from distilabel_endpoints.records import Failure, FailureKind

__all__ = ["cluster"]

_LEAST_CPUS: Final = 4
"""Ray only counts CPUs; work that waits for an endpoint needs fewer than Ray Data reserves."""


@contextmanager
def cluster(address: str | None, *, cpus: float) -> Iterator[Any]:
    """The library `ray`, connected, and silent about itself.

    Args:
        address: of a cluster, as `ray.init` takes it; None starts Ray on this machine and ends it.
        cpus: what actors and tasks will ask for together; a Ray that is started here has as many.

    Raises:
        RunError: nothing answers at the address, or Ray does not start here.
        InstallationError: `ray` is not installed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray\b")
        if address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Its native part would write to our standard error, past `logging`.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray = ray_package("--ray")
        where = {"address": address} if address is not None else _here(cpus)
        try:
            with _own_sigterm():
                ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # noqa: BLE001 - a start that takes too long is a bare one
            if address is None:
                raise RunError(_not_started(error)) from None
            raise TargetError(_unreachable(address, error)) from None
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the program's handler of SIGTERM: Ray puts its own there, which aborts the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _here(cpus: float) -> dict[str, Any]:
    return {
        "address": "local",
        "num_cpus": max(math.ceil(cpus), _LEAST_CPUS, os.cpu_count() or 1),
        "include_dashboard": False,
    }


def _unreachable(address: str, error: Exception) -> Failure:
    return Failure(
        kind=FailureKind.UNAVAILABLE,
        code="ray",
        message=f"no Ray cluster at {address}: {error}",
        hint="Give the address that `ray start` printed, or --ray alone for this machine.",
    )


def _not_started(error: Exception) -> Failure:
    return Failure(
        kind=FailureKind.LOCAL,
        code="ray",
        message=f"Ray did not start on this machine: {error}",
        hint="Run the same command again; or start Ray with `ray start --head` and give --ray its "
        "address.",
    )
