"""P10: seconds to import the class, and of `distilabel-endpoints --help`. Medians of nine.

    .venv/bin/python -m benchmarks imports

Whole processes, after one that fills the caches; `python -m benchmarks peers` has the peers'.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from statistics import median

from benchmarks.tables import Bar, print_bars, print_table, size
from benchmarks.turns import in_turns

COMMANDS = {
    "import distilabel_endpoints": ["-c", "import distilabel_endpoints"],
    "import the class": [
        "-c",
        "from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM",
    ],
    "distilabel-endpoints --help": ["-m", "distilabel_endpoints", "--help"],
    "huggingface_hub.AsyncInferenceClient": [
        "-c",
        "from huggingface_hub import AsyncInferenceClient",
    ],
    "openai.AsyncOpenAI": ["-c", "from openai import AsyncOpenAI"],
    "an empty interpreter": ["-c", "pass"],
}
TIMES = size(9, 1)


def seconds(words: list[str]) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> None:
    """Print the table and the targets."""
    for words in COMMANDS.values():
        seconds(words)
    works = {name: partial(seconds, words) for name, words in COMMANDS.items()}
    found = {name: median(taken) for name, taken in in_turns("imports", TIMES, works).items()}
    rows = [(name, f"{value:.2f}") for name, value in found.items()]
    print_table(f"start-up, median of {TIMES}", ("what", "seconds"), rows)
    print_bars(
        Bar("P10", "importing the class", found["import the class"], 0.45, unit="s"),
        Bar(
            "P10",
            "`distilabel-endpoints --help`",
            found["distilabel-endpoints --help"],
            0.4,
            unit="s",
        ),
    )


if __name__ == "__main__":
    main()
