"""The program of the embedded endpoint's own process: llama.cpp's HTTP server, through xllamacpp.

Why a process: xllamacpp's `Server` holds the interpreter's lock while it loads and while it ends,
and its end waits for ever for a request in flight (seen in 2026.10). Here it is never ended: the
process is. It is run by path and imports nothing of this package.

Protocol: settings as one JSON object on the first line of stdin; once the model is loaded, one
JSON object on stdout, `{"address": "http://127.0.0.1:8080"}`; the end of stdin ends the process,
so it never outlives the one that started it. Exit codes, with the reason on stderr: 1 llama.cpp
refused, 2 xllamacpp cannot be imported.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

__all__ = ["main"]

_ERRORS, _INFORMATION = 1, 3
"""Levels of llama.cpp's log."""


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    settings = json.loads(sys.stdin.readline())
    # llama.cpp may write to stdout: ours becomes a copy, and its stdout the log.
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        import xllamacpp
    except ImportError as error:
        sys.stderr.write(str(error))
        sys.exit(2)
    try:
        server = xllamacpp.Server(_parameters(xllamacpp.CommonParams(), settings))
    except RuntimeError as error:
        sys.exit(str(error))
    try:
        if not settings["verbose"]:
            _mute()
        os.write(answers, json.dumps({"address": server.listening_address}).encode() + b"\n")
        sys.stdin.read()
    finally:
        # Neither the server nor the interpreter is torn down: both can wait for ever.
        os._exit(0)


def _parameters(parameters: Any, settings: dict[str, Any]) -> Any:
    parameters.model.path = settings["path"]
    parameters.model_alias = {settings["name"]}
    parameters.hostnames = [settings["host"]]
    parameters.port = settings["port"]
    parameters.n_parallel = settings["slots"]
    parameters.n_ctx = settings["slots"] * settings["context"]
    parameters.cpuparams.n_threads = settings["threads"]
    parameters.verbosity = _INFORMATION if settings["verbose"] else _ERRORS
    parameters.use_jinja = True
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    # No web page, and no page of another site may read what is answered here.
    parameters.ui = False
    parameters.cors_origins = "localhost"
    # By default llama.cpp keeps up to 8 GB of old prompts' states.
    parameters.cache_ram_mib = 0
    return parameters


def _mute() -> None:
    """Drop what llama.cpp says from here on: one line for each request it refuses."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


if __name__ == "__main__":
    main()
