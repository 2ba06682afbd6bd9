"""P10: CPU of starting: of importing this package and others, and of a command over one row.

    .venv/bin/python -m benchmarks imports

Whole processes, after one that fills the caches; medians of nine, in turns. CPU is the user and
system time of the process: seconds by the clock depend on what else the machine does. The commands
send one row to the simulated endpoint. A line that begins with dots has all of the line above it;
the target is a command over the import of its client library.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.endpoint import served
from benchmarks.tables import Bar, print_bars, print_table, size
from benchmarks.turns import in_turns

HUB = "from huggingface_hub import AsyncInferenceClient"
OTHERS = f"{HUB}; import aiohttp, anyio.from_thread, click, pydantic.main, sqlite3"
OURS = f"{OTHERS}; import distilabel_endpoints._clients.hub, distilabel_endpoints.runs.local"
THE_CLASS = "from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM"
HUB_IMPORT, OPENAI_IMPORT = "huggingface_hub.AsyncInferenceClient", "openai.AsyncOpenAI"
COMMANDS = {
    "an empty interpreter": ["-c", "pass"],
    "import distilabel_endpoints": ["-c", "import distilabel_endpoints"],
    "import the class": ["-c", THE_CLASS],
    "distilabel-endpoints --help": ["-m", "distilabel_endpoints", "--help"],
    OPENAI_IMPORT: ["-c", "from openai import AsyncOpenAI"],
    HUB_IMPORT: ["-c", HUB],
    "... and aiohttp, pydantic, anyio, click, sqlite3": ["-c", OTHERS],
    "... and our modules": ["-c", f"{OURS}, distilabel_endpoints.commands"],
}
ONE_ROW = {"a command over one row, hub client": "hf", "the same, openai client": "openai"}
TIMES = size(9, 1)
# Modules that were compiled before are loaded as compiled: everybody has that from the second run.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def cpu(words: list[str]) -> float:
    """Its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run(words: list[str]) -> None:
    quiet = subprocess.DEVNULL
    command = [sys.executable, *words]
    subprocess.run(command, check=True, stdout=quiet, stderr=quiet, env=ENVIRONMENT)


def one_row(client: str, url: str, folder: Path) -> list[str]:
    """The arguments of a command that sends one row."""
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Hi"}) + "\n", encoding="utf-8")
    words = ["-m", "distilabel_endpoints", "generate", str(rows), "--fresh", "--base-url", url]
    return [*words, "--client", client, "--output", str(folder / f"{client}.jsonl")]


def measure() -> dict[str, float]:
    """The median CPU seconds of each start."""
    with served() as endpoint, tempfile.TemporaryDirectory() as name:
        rows = {title: one_row(c, endpoint.url, Path(name)) for title, c in ONE_ROW.items()}
        commands = {**COMMANDS, **rows}
        for words in commands.values():
            cpu(words)
        works = {title: partial(cpu, words) for title, words in commands.items()}
        taken = in_turns("imports", TIMES, works)
    return {title: median(times) for title, times in taken.items()}


def main() -> None:
    """Print the table and the targets."""
    spent = measure()
    rows = [(name, f"{value:.2f}") for name, value in spent.items()]
    print_table(f"CPU of a start, median of {TIMES}", ("what", "CPU s"), rows)
    hub, openai = (spent[title] for title in ONE_ROW)
    over = "a command over one row, over importing"
    print_bars(
        Bar("P10", f"{over} huggingface_hub's client", hub / spent[HUB_IMPORT], 2),
        Bar("P10", f"{over} openai's client", openai / spent[OPENAI_IMPORT], 2),
    )


if __name__ == "__main__":
    main()
