"""A fork of the tests' fork server is what a new process would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import Started, ended, environment, started
from fork_server import Command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tests fork commands on Linux only")

SEEN = """
import json, os, signal, sys, threading
names = ["SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGCHLD"]
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path[1:],
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "signals": [str(signal.getsignal(getattr(signal, name))) for name in names],
    "open": sorted(os.listdir("/proc/self/fd")),
    "group": os.getpgid(0),
    "threads": threading.active_count(),
    "input": None if sys.stdin is None else sys.stdin.read(),
    "encodings": [getattr(stream, "encoding", None) for stream in (sys.stdout, sys.stderr)],
    "warnings": [one[0] for one in sys.modules["warnings"].filters][:1],
}), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""


def anew(closed: str, feed: bool) -> Started:
    command = [sys.executable, "-W", "error", "-c", SEEN, "a", "b c"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        ["bash", "-c", f'exec "$@" {closed}', "bash", *command],
        stdin=pipe if feed else None,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment(MORE="1"),
    )


@pytest.mark.parametrize(("closed", "feed"), [("", True), ("", False), ("<&-", False)])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_fork_is_as_a_new_process(
    default_signals: None, tmp_path: Path, closed: str, feed: bool, ignored: bool
) -> None:
    """Arguments, folder, environment, signals, open files, streams and end are the same."""
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    seen = []
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        fork = started(["a", "b c"], environment(MORE="1"), SEEN, feed=feed, closed=closed)
        assert isinstance(fork, Command)
        for process in (fork, anew(closed, feed)):
            with process:
                done = ended(process, "written\n" if feed else None)
            assert done.returncode == -signal.SIGTERM
            assert done.stderr == ""
            seen.append(json.loads(done.stdout))
    finally:
        os.chdir(before)
    for one in seen:
        one["environment"] = {
            name: value
            for name, value in one["environment"].items()
            if name not in {"_", "SHLVL", "OLDPWD", "PWD"}
        }
    assert seen[0] == seen[1]


def test_another_setting_that_imports_read_is_a_new_process() -> None:
    """`HF_HUB_OFFLINE` is read when huggingface_hub is imported: too late for a fork."""
    process = started([], environment(HF_HUB_OFFLINE="1"), "print('here')")
    assert isinstance(process, subprocess.Popen)
    with process:
        assert ended(process).stdout == "here\n"
