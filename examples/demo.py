#!/usr/bin/env python3
"""Answers every row of prompts.jsonl with the embedded endpoint, then shows three of the answers.

usage: demo.py [OUTPUT]        default: demo-output.jsonl
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

PROMPTS = Path(__file__).with_name("prompts.jsonl")
SHOWN = ("rewrite-01", "extract-06", "code-01")


def generate(output: Path) -> int:
    """Run the command line as a user would; its progress appears on this terminal."""
    command = [sys.executable, "-m", "distilabel_endpoints", "generate", str(PROMPTS)]
    command += ["--output", str(output), "--local", "--temperature", "0", "--fresh"]
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # the command got it too: it ends in its own way, and can be resumed


def printable(text: str) -> str:
    """Without what could move the cursor or colour the terminal: a model wrote it."""
    return "".join(char for char in text if char.isprintable() or char == "\n")


def show(console: Console, row: dict[str, object]) -> None:
    """One row: its id, the question on one line, the answer wrapped under it."""
    messages = row["messages"]
    assert isinstance(messages, list)
    question = Text(" ".join(printable(messages[-1]["content"]).split()), style="dim")
    question.truncate(console.width - 2, overflow="ellipsis")
    console.print(Text(f"\n{row['id']}", style="bold"))
    console.print(Padding(question, (0, 2)))
    console.print(Padding(Text(printable(str(row["generation"]))), (0, 2)))


def main() -> int:
    """Generate, count, show; the exit code is the command's."""
    output = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output.jsonl")
    started = time.monotonic()
    code = generate(output)
    elapsed = time.monotonic() - started
    if code not in {0, 2}:
        return code
    with output.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    failed = sum(row["generation"] is None for row in rows)
    tokens = sum(row["output_tokens"] or 0 for row in rows)
    console = Console(highlight=False)
    console.print(
        f"\n{output.resolve()}: {len(rows)} rows, {failed} failed,"
        f" {tokens} tokens in {elapsed:.0f} s ({tokens / elapsed:.0f} tokens/s)",
        soft_wrap=True,
        markup=False,
    )
    for row in rows:
        if row["id"] in SHOWN:
            show(console, row)
    return code


if __name__ == "__main__":
    sys.exit(main())
