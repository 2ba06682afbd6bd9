"""What a model or a server says cannot drive the terminal: the real command line on a real PTY."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from command import arguments, environment

from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

HOSTILE = (
    "\x1b]0;pwned\x07 \x1b]52;c;cm0gLXJm\x07 \x1b[2J\x1b[H \x1bP+q544e\x1b\\ \x1b[6n \x1b[?1049h "
    "\x9b31m \x90x\x9c \u202ereversed\u202c \x08\x08\x7f \r\x1b[Kgone \x1bc pwned"
)
OURS = re.compile(r"\x1b\[(?:\d+A|[012]?[JK]|[\d;]*m|\?25[lh])|[\r\n]")
"""Colours, the cursor out of sight, and the block drawn anew."""
DRIVES = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def on_a_terminal(*words: object) -> tuple[int, str]:
    """A command whose three streams are a terminal; its exit code and what was written there."""
    master, slave = pty.openpty()
    chunks: list[bytes] = []

    def read() -> None:
        # Linux reports the other side's end as an error.
        try:
            while chunk := os.read(master, 65_536):
                chunks.append(chunk)
        except OSError:
            return

    process = subprocess.Popen(
        arguments(*words),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(TERM="xterm-256color", COLUMNS="100", LINES="40"),
    )
    os.close(slave)
    reader = threading.Thread(target=read)
    reader.start()
    code = process.wait(timeout=60)
    reader.join(timeout=30)
    os.close(master)
    return code, b"".join(chunks).decode("utf-8", errors="surrogateescape")


@pytest.mark.promise("S7")
def test_nothing_from_elsewhere_drives_the_terminal(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """Errors, model name, prompts, paths: their words are shown and none of their controls."""
    folder = tmp_path / "\x1b[31mfolder"
    folder.mkdir()
    rows = folder / "rows\x1b]0;x\x07.jsonl"
    rows.write_text('{"prompt": ' + repr(HOSTILE).replace("'", '"').replace("\\x", "\\u00") + "}\n")
    refused = Respond(400, {"error": f"no, {HOSTILE}"}, content_type="application/json")
    stopped = Respond(402, HOSTILE.encode(), content_type="text/plain; charset=utf-8")
    endpoint = simulated_endpoint(model=f"model {HOSTILE}", faults=(Fault(refused),))
    words = ["generate", rows, "-o", folder / "out.jsonl", "--base-url", endpoint.url]
    shown = {
        "plan": on_a_terminal(*words, "--dry-run"),
        "failed": on_a_terminal(*words),
        "status": on_a_terminal("status", folder / "out.jsonl"),
        "export": on_a_terminal("export", folder / "out.jsonl"),
        "usage": on_a_terminal(*words, "--param", f"{HOSTILE}=1"),
        "missing": on_a_terminal("generate", folder / f"no {HOSTILE[:9]}", *words[2:]),
    }
    endpoint.clear_faults()
    endpoint.add_faults(Fault(stopped))
    shown["stopped"] = on_a_terminal(*words)
    codes = {name: code for name, (code, _) in shown.items()}
    assert codes == {
        "plan": 0, "failed": 2, "status": 0, "export": 0, "usage": 1, "missing": 1, "stopped": 3,
    }  # fmt: skip
    for name, (_, text) in shown.items():
        assert text.strip(), name
        assert not DRIVES.search(OURS.sub("", text)), (name, text)
    assert "(400): no," in shown["failed"][1]
    assert "402" in shown["stopped"][1]


def test_the_harness_sees_what_drives() -> None:
    """The check above tells ours from theirs."""
    assert not DRIVES.search(OURS.sub("", "\x1b[3A\x1b[?25l\x1b[1;31mok\x1b[0m\r\n"))
    for trick in HOSTILE.split(" "):
        spoken = trick.isascii() and trick.isprintable()
        assert spoken or "\r" in trick or DRIVES.search(OURS.sub("", trick)), trick
