"""The embedded endpoint's life: it starts, ends, fails and crashes without harm to us."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import imitation
import psutil
import pytest

from distilabel_endpoints.errors import ConfigurationError, InstallationError, UnavailableError
from distilabel_endpoints.local import LocalEndpoint, find_default_model
from distilabel_endpoints.local import embedded as module


def children() -> set[int]:
    """The llama.cpp processes of ours."""
    # A zombie's command line cannot be read; it comes as None here.
    found = ((child.pid, child.as_dict(["cmdline"])) for child in psutil.Process().children())
    return {pid for pid, said in found if "llama.py" in " ".join(said["cmdline"] or ())}


def healthy(endpoint: LocalEndpoint) -> bool:
    """Whether it answers."""
    return httpx2.get(f"{endpoint.base_url}/health", timeout=30).status_code == 200


def listens(url: str) -> bool:
    """Whether anything takes connections there."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_two_live_side_by_side_and_one_after_the_other() -> None:
    """Each has its own port; closing one leaves the other, and a closed one starts again."""
    first, second = LocalEndpoint(threads=1), LocalEndpoint(threads=1, slots=1, context=256)
    with first:
        with second:
            assert first.base_url != second.base_url
            assert healthy(first)
            assert healthy(second)
            gone = second.base_url
        assert healthy(first)
        assert not listens(gone)
        with second:
            assert healthy(second)


def test_starting_and_closing_again_do_nothing() -> None:
    """start() on a running one keeps it; close() on a closed one is quiet; then it has no URL."""
    endpoint = LocalEndpoint(threads=1)
    endpoint.close()
    url = endpoint.start().base_url
    assert endpoint.start().base_url == url
    endpoint.close()
    endpoint.close()
    with pytest.raises(ConfigurationError, match=r"call start\(\) first"):
        _ = endpoint.base_url


def test_it_may_be_started_and_closed_from_other_threads() -> None:
    """Many threads start one process; another thread closes it, and wait() returns."""
    endpoint, before = LocalEndpoint(threads=1), children()
    starters = [threading.Thread(target=endpoint.start) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(children() - before) == 1
    closer = threading.Thread(target=endpoint.close)
    closer.start()
    closer.join()
    assert children() == before


def test_wait_returns_once_it_is_closed() -> None:
    """Closing it is an ordinary end for whoever waits."""
    endpoint = LocalEndpoint(threads=1).start()
    ended = threading.Event()

    def wait() -> None:
        endpoint.wait()
        ended.set()

    threading.Thread(target=wait).start()
    endpoint.close()
    assert ended.wait(10)


def test_closing_does_not_wait_for_requests_in_flight() -> None:
    """A request with minutes to go is cut off, and its client is told at once."""
    failures: list[Exception] = []
    flowing = threading.Event()

    def ask(url: str) -> None:
        body = {"prompt": "Once", "max_tokens": 2000, "ignore_eos": True, "stream": True}
        try:
            with httpx2.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
                for _ in answer.iter_lines():
                    flowing.set()
        except httpx2.HTTPError as error:
            failures.append(error)

    with LocalEndpoint(threads=1) as endpoint:
        url = endpoint.base_url
        client = threading.Thread(target=ask, args=[url])
        client.start()
        assert flowing.wait(60)
        closing = time.monotonic()
    assert time.monotonic() - closing < 10
    client.join(10)
    assert len(failures) == 1
    assert not listens(url)


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


START = (
    "from distilabel_endpoints.local import LocalEndpoint; "
    "endpoint = LocalEndpoint(threads=1).start(); "
)


def test_leaving_without_closing_is_clean_and_quiet() -> None:
    """Exit code 0, llama.cpp ends too, and it never wrote a word, not even of a refused request."""
    ended = run_script(
        START + "import httpx2; url = endpoint.base_url;"
        "long = {'prompt': 'word ' * 3000, 'max_tokens': 1};"
        "assert httpx2.post(url + '/v1/completions', json=long).status_code == 400;"
        "print(url)"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    url = ended.stdout.strip()
    assert url.startswith("http://127.0.0.1:")
    assert not listens(url)


def test_it_ends_by_itself_when_we_are_killed() -> None:
    """SIGKILL leaves no time to tell it; it notices."""
    ended = run_script(
        START + "import os; print(endpoint._running.child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    assert ended.returncode == -signal.SIGKILL
    psutil.wait_procs(_alive(int(ended.stdout)), timeout=20)
    assert not _alive(int(ended.stdout))


def _alive(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [] if process.status() == psutil.STATUS_ZOMBIE else [process]
    except psutil.NoSuchProcess:
        return []


def test_a_forked_process_does_not_end_it() -> None:
    """Whoever started it owns it: neither close() nor the end of a fork reaches it."""
    ended = run_script(
        START + "import os, sys, httpx2; pid = os.fork();\n"
        "if pid == 0: endpoint.close(); sys.exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert httpx2.get(endpoint.base_url + '/health').status_code == 200"
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_terminal_s_interrupt_does_not_reach_it(local_endpoint: LocalEndpoint) -> None:
    """It is in a session of its own, so that Ctrl-C lets requests in flight finish."""
    assert {os.getsid(pid) for pid in children()}.isdisjoint({os.getsid(0)})
    assert healthy(local_endpoint)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_long_run_s_log_does_not_fill_the_disk(local_endpoint: LocalEndpoint) -> None:
    """Once it runs, what llama.cpp says of each refused request goes nowhere."""
    for pid in children():
        written = {Path(f"/proc/{pid}/fd/{stream}").readlink() for stream in (1, 2)}
        assert written == {Path(os.devnull)}


def test_its_threads_do_not_spin_for_long(local_endpoint: LocalEndpoint) -> None:
    """On a busy machine, threads that spin for each other take nearly all of the speed."""
    assert {psutil.Process(pid).environ()["GOMP_SPINCOUNT"] for pid in children()} == {"300"}


def test_verbose_lets_its_log_through() -> None:
    """What llama.cpp says appears on stderr, and only there."""
    script = "from distilabel_endpoints.local import LocalEndpoint\n"
    ended = run_script(script + "with LocalEndpoint(threads=1, verbose=True): pass")
    assert ended.returncode == 0
    # Its last lines are lost when it is ended at once: its log is written by a thread of its own.
    assert "build_info" in ended.stderr
    assert ended.stdout == ""


def test_a_crash_is_told_with_its_signal() -> None:
    """wait() raises when llama.cpp ends by itself; out of memory is the usual reason."""
    before = children()
    with LocalEndpoint(threads=1) as endpoint:
        os.kill((children() - before).pop(), signal.SIGKILL)
        with pytest.raises(UnavailableError, match=r"ended by SIGKILL.*out of memory"):
            endpoint.wait()


def test_a_damaged_model_is_refused_with_llama_cpp_s_reason(tmp_path: Path) -> None:
    """The first bytes are right and the rest is cut off: the message says so, and where."""
    cut = tmp_path / "cut.gguf"
    with find_default_model().open("rb") as whole:
        cut.write_bytes(whole.read(3_000_000))
    with pytest.raises(ConfigurationError, match=r"cut\.gguf: .*corrupted or incomplete"):
        LocalEndpoint(cut, threads=1).start()


def test_a_taken_port_is_named() -> None:
    """The message names the address that cannot be listened on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port: {port}"):
            LocalEndpoint(threads=1, port=port).start()


def test_an_address_of_another_machine_is_named() -> None:
    """Before llama.cpp is started; 192.0.2.1 is nobody's (RFC 5737)."""
    with pytest.raises(ConfigurationError, match=r"host: 192\.0\.2\.1.*an address of this machine"):
        LocalEndpoint(threads=1, host="192.0.2.1").start()


def test_a_given_port_is_used(unused_port: int) -> None:
    """The URL has the port that was asked for."""
    with LocalEndpoint(threads=1, port=unused_port) as endpoint:
        assert endpoint.base_url == f"http://127.0.0.1:{unused_port}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("slots", 0), ("slots", 257), ("context", 0), ("threads", 0), ("port", -1), ("port", 65536)],
)
def test_values_out_of_range_are_refused(name: str, value: int) -> None:
    """The message names the parameter, before anything runs."""
    with pytest.raises(ConfigurationError, match=f"^{name} must be from"):
        LocalEndpoint(**{name: value})  # type: ignore[arg-type]


def test_without_llama_cpp_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallationError, match=r'pip install "distilabel-endpoints\[local\]"'):
        LocalEndpoint().start()


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("raise RuntimeError('no')", ConfigurationError, r"llama\.cpp cannot serve .*: no"),
        ("raise KeyError('odd')", ConfigurationError, "KeyError: 'odd'"),
        ("os.kill(os.getpid(), signal.SIGILL)", UnavailableError, "ended by SIGILL"),
        ("time.sleep(600)", UnavailableError, "still loading"),
        ("self.listening_address = 'http://127.0.0.1:9'", UnavailableError, "does not answer at"),
        (
            "Health.status = 500; self.listening_address = f'http://127.0.0.1:{listen()}'",
            UnavailableError,
            "answers 500",
        ),
    ],
)
def test_every_way_to_fail_at_the_start_is_told_and_cleaned_up(
    body: str,
    error: type[Exception],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A typed error says what happened, and no process is left."""
    imitation.install(tmp_path, monkeypatch, body)
    before = children()
    timeout = 1.0 if "sleep" in body else 60.0
    endpoint = LocalEndpoint(start_timeout=timeout)
    with pytest.raises(error, match=said):
        endpoint.start()
    assert children() == before


def test_an_xllamacpp_that_cannot_be_imported_is_an_installation_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing shared library, say: the message carries the import's own."""
    imitation.install(tmp_path, monkeypatch, "pass")
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('libcuda.so.1: cannot open')")
    with pytest.raises(InstallationError, match=r"libcuda\.so\.1: cannot open"):
        LocalEndpoint().start()


def test_the_address_of_all_interfaces_is_reached_through_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`0.0.0.0` is not an address to connect to: the URL has one. Noise on stdout is ignored."""
    listening = "print('llama.cpp'); self.listening_address = f'http://0.0.0.0:{listen()}'"
    imitation.install(tmp_path, monkeypatch, listening)
    with LocalEndpoint() as endpoint:
        assert endpoint.base_url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("cores", "affinity", "quota", "threads"),
    [
        (8, 8, "max 100000", -1),
        (8, 2, "max 100000", 2),
        (8, 8, "350000 100000", 3),
        (8, 2, "50000 100000", 1),
        (8, 8, None, -1),
    ],
)
def test_no_more_threads_than_cores_of_ours(
    cores: int,
    affinity: int,
    quota: str | None,
    threads: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """llama.cpp chooses, unless affinity or a container's quota leaves us fewer cores."""
    limit = tmp_path / "cpu.max"
    if quota is not None:
        limit.write_text(quota)
    monkeypatch.setattr(module, "_CPU_QUOTA", limit)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)))
    assert module._default_threads() == threads
