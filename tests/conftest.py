"""Fixtures that several test modules share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import ssl
import tempfile
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from distilabel_endpoints.local import LocalEndpoint

SHARING: Final = {
    "test_ray_stage.py": "ray",
    "test_ray_survival.py": "ray",
    "test_ray_money.py": "ray",
    "test_ray_batch.py": "ray",
    "test_ray_formats.py": "ray",
    "test_ray_life.py": "ray",
    "test_events.py": "events",
    "test_promises.py": "promises",
    "test_reliability_page.py": "promises",
    "test_servers_page.py": "servers",
    "test_grammar_servers.py": "llama",
    "test_limiter_servers.py": "limiter",
    "test_local_answers.py": "llama",
    "test_real_bodies.py": "llama",
    "test_real_labels.py": "llama",
    "test_real_llama.py": "llama",
}
"""Files whose tests one process runs: they share a Ray, a model, a run, a reading of all tests."""
LONG: Final = (
    "ray",
    "llama",
    "limiter",
    "test_matrix_endpoint.py",
    "test_batch_files.py",
    "test_interruptions.py",
    "test_life.py",
    "test_kills.py",
    "test_wire.py",
    "test_promises_disk.py",
    "test_promises_local.py",
    "test_promises_memory.py",
    "test_soak.py",
    "test_local_endpoint.py",
    "test_local_serving.py",
    "test_pool_runs.py",
    "test_pool_sockets.py",
    "test_interrupts.py",
    "test_promises_outages.py",
    "test_engine_invariants.py",
    "test_limiter_held_out.py",
    "test_limiter_properties.py",
    "test_full_queues_words.py",
    "test_canaries.py",
    "test_site.py",
)
"""What takes longest, first: begun last, it would be waited for with nothing else to do."""


FOLDER: Final = Path(__file__).parent.resolve()
TESTS: Final = "**/test_*.py"
MARK: Final = f"TESTS_OF_PROCESS={os.getpid()}"
os.environ |= dict([MARK.split("=")])
"""What the tests of this process start has it in its environment."""


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for the temporary files of this process and of what it starts."""
    folder = tmp_path_factory.mktemp("t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory, request: Any) -> Iterator[None]:
    """In quick tests, which talk to nobody outside, one authority is trusted instead of all.

    Client libraries read the system's hundred for every client, which takes as long as a test.
    """
    with pytest.MonkeyPatch.context() as patch:
        marks = {mark.name for item in request.session.items for mark in item.iter_markers()}
        known = ssl.create_default_context().get_ca_certs(binary_form=True)
        installing = request.config.inipath.parent != FOLDER.parent  # tests/pipeline
        if known and not installing and not marks & {"live", "prove"}:
            file = tmp_path_factory.mktemp("authority") / "one.pem"
            file.write_text(ssl.DER_cert_to_PEM_cert(known[0]))
            patch.setenv("SSL_CERT_FILE", str(file))
            patch.delenv("SSL_CERT_DIR", raising=False)
        yield


@pytest.fixture(scope="module", autouse=True)
def nothing_left(temporary_files: Path) -> Iterator[None]:
    """After a file's tests there are no more temporary files than before, and no process is alive
    that one of them started and does not wait for."""
    before = set(temporary_files.iterdir())
    yield
    until = time.monotonic() + 30
    while (alive := _left()) and time.monotonic() < until:
        psutil.wait_procs(alive, timeout=0.2)
    assert not alive
    # multiprocess makes one for each process that uses it, and removes it at that process's end.
    left = {path for path in temporary_files.iterdir() if not path.name.startswith("pymp-")}
    assert left <= before


def _left() -> dict[psutil.Process, list[str]]:
    """Processes that we started, but children of others by now: daemons, watchdogs, commands."""
    left = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError, psutil.NoSuchProcess):
            if MARK.encode() in path.read_bytes().split(b"\0"):
                process = psutil.Process(int(path.parent.name))
                if os.getpid() not in {process.pid, process.ppid()}:
                    left[process] = process.cmdline()
    return left


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


@pytest.fixture
def short_folder() -> Iterator[str]:
    """For Ray's sockets, whose paths have a limit."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


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


def _group(nodeid: str) -> str:
    """Whose tests one process runs: a file's, those of files that share, or one test's alone."""
    path = nodeid.partition("::")[0]
    file = path.rpartition("/")[2]
    return SHARING.get(file, nodeid if file in LONG else path)


def _rank(nodeid: str) -> int:
    file = nodeid.partition("::")[0].rpartition("/")[2]
    name = SHARING.get(file, file)
    return LONG.index(name) if name in LONG else len(LONG)


def pytest_configure(config: pytest.Config) -> None:
    """Each worker reads the tests from another folder on: what one has compiled, the others load.

    In a new clone they would otherwise all compile the same file at the same time.
    """
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker and [Path(path).resolve() for path in config.args] == [FOLDER]:
        paths = sorted({path.relative_to(FOLDER).parts[0] for path in FOLDER.glob(TESTS)})
        kept = [path for path in paths if path not in config.getini("norecursedirs")]
        first = len(kept) * int(worker["workerid"][2:]) // worker["workercount"]
        config.args = [str(FOLDER / path) for path in (*kept[first:], *kept[:first])]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: the collector of garbage looks at none of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, whichever folder was read first."""
    items.sort(key=lambda item: (_rank(item.nodeid), item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist loadfile`, but long files are given out test by test, and some files together."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    config.option.loadscopereorder = False
    return Sharing(config, log)
