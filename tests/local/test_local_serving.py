"""`serve`: the embedded endpoint as a program, until a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import imitation
import psutil
import pytest

from distilabel_endpoints.errors import UnavailableError
from distilabel_endpoints.local import LocalEndpoint, serve

pytestmark = pytest.mark.usefixtures("default_signals")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_with_0(number: signal.Signals) -> None:
    """The URL is on stdout once it answers; a signal then ends both processes without a word."""
    command = (
        "import sys; from distilabel_endpoints.local import serve; "
        "sys.exit(serve(port=0, threads=1))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        url = program.stdout.readline().strip()
        assert httpx2.get(f"{url}/health", timeout=30).status_code == 200
        started = psutil.Process(program.pid).children()
        program.send_signal(number)
        assert program.wait(20) == 0
        assert program.stderr.read() == f"SmolLM2-135M-Instruct.Q4_1 at {url}; Ctrl-C ends it.\n"
        assert program.stdout.read() == ""
    assert len(started) == 1
    assert not started[0].is_running()


def test_the_callback_sees_it_ready_and_handlers_are_put_back() -> None:
    """`on_ready` gets an endpoint that answers; what signals did before, they do again."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    seen = []

    def on_ready(endpoint: LocalEndpoint) -> None:
        seen.append(httpx2.get(f"{endpoint.base_url}/health", timeout=30).status_code)
        os.kill(os.getpid(), signal.SIGTERM)

    assert serve(port=0, threads=1, on_ready=on_ready) == 0
    assert seen == [200]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_while_the_model_loads_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to wait for a large model only to stop it; nothing is left behind."""
    loading = tmp_path / "loading"
    os.mkfifo(loading)
    imitation.install(
        tmp_path, monkeypatch, f"open({str(loading)!r}, 'w').close(); time.sleep(600)"
    )

    def interrupt() -> None:
        loading.read_text()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    before = len(psutil.Process().children())
    assert serve(port=0, on_ready=lambda endpoint: pytest.fail("it never loads")) == 0
    assert len(psutil.Process().children()) == before


def test_a_crash_of_llama_cpp_is_an_error() -> None:
    """The program does not sit there serving nothing."""

    before = set(psutil.Process().children())

    def crash(endpoint: LocalEndpoint) -> None:
        (started,) = set(psutil.Process().children()) - before
        started.kill()

    with pytest.raises(UnavailableError, match="SIGKILL"):
        serve(port=0, threads=1, on_ready=crash)
