"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from distilabel_endpoints.local import LocalEndpoint

SHARING: Final = {
    "test_ray_stage.py": "ray",
    "test_ray_survival.py": "ray",
    "test_ray_money.py": "ray",
    "test_ray_life.py": "ray",
    "test_events.py": "events",
    "test_promises.py": "promises",
    "test_reliability_page.py": "promises",
    "test_servers_page.py": "servers",
}
"""Files whose tests one process runs: they share a Ray, a run, or a reading of all tests."""


@pytest.fixture
def unused_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Ctrl-C and its kin do here, and in programs started here, what they do in a terminal.

    Whoever runs the tests may have them ignored (`nohup`, a script's background job), and what is
    ignored is inherited.
    """
    signals: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in signals.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def local_endpoint() -> Iterator[LocalEndpoint]:
    """llama.cpp with the small real model: one for each pytest process, sharing the cores."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    with LocalEndpoint(threads=max(1, (os.cpu_count() or 1) // workers)) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def ray_session() -> Iterator[Path]:
    """A Ray with two CPUs, a canary in its workers' `WORKER_TOKEN`; gives its folder.

    The folder's name is short: Ray's sockets are in it, and their paths have a limit.
    """
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    os.environ |= {
        "WORKER_TOKEN": "hf_canaryOfTheRaySession0123456789",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_BACKEND_LOG_LEVEL": "info",
    }
    os.environ.pop("HF_TOKEN", None)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        import ray.data

        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=str(folder),
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
    yield folder
    ray.shutdown()
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ |= before
    shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist load`, but tests that share what takes long to make go to one process."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return SHARING.get(file.rpartition("/")[2], nodeid)

    return Sharing(config, log)
