"""P10: seconds to import the class, and of `distilabel --help`. Medians of nine."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.endpoint import print_table

COMMANDS = {
    "import distilabel": ["-c", "import distilabel"],
    "import the class": [
        "-c",
        "from distilabel.llms.huggingface import InferenceEndpointsLLM",
    ],
    "distilabel --help": ["-m", "distilabel", "--help"],
    "huggingface_hub.AsyncInferenceClient": [
        "-c",
        "from huggingface_hub import AsyncInferenceClient",
    ],
    "openai.AsyncOpenAI": ["-c", "from openai import AsyncOpenAI"],
    "an empty interpreter": ["-c", "pass"],
}


def seconds(words: list[str]) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> None:
    rows = []
    for name, words in COMMANDS.items():
        seconds(words)
        rows.append((name, f"{statistics.median(seconds(words) for _ in range(9)):.2f}"))
    print_table("start-up", ("what", "seconds"), rows)


if __name__ == "__main__":
    main()
