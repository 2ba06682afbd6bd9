"""Draws docs/images/report.png: the report of a real run, as a browser shows it.

python docs/report_picture.py    # takes some minutes, and needs a Chromium on this machine
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from itertools import product
from pathlib import Path

from distilabel_endpoints import InferenceEndpointsLLM, LocalEndpoint, generate_dataset
from distilabel_endpoints.report import write_report

PICTURE = Path(__file__).parent / "images" / "report.png"
SIZE = "940,1010"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TASKS = (
    "Name one surprising fact about {}.",
    "Write a question about {} for a quiz, with its answer.",
    "Explain {} to a child in two sentences.",
    "Give three words that rhyme with {}, and nothing else.",
    "Is there anything about {} that most people get wrong?",
    "List the letters of the word {}, one after the other.",
)
TOPICS = ("rivers", "bridges", "bread", "glass", "maps", "clocks", "tides", "salt", "ink", "paper")


def answered_prompts(folder: Path) -> Path:
    """The output of a run with the small model."""
    rows = [{"prompt": task.format(topic)} for task, topic in product(TASKS, TOPICS)]
    output = folder / "answers.jsonl"
    with LocalEndpoint() as endpoint, InferenceEndpointsLLM(base_url=endpoint.base_url) as llm:
        generate_dataset(llm, rows, output, max_new_tokens=80)
    return output


def photograph(page: Path, picture: Path) -> None:
    """The beginning of a page, as a browser without a window shows it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"no browser here: one of {', '.join(BROWSERS)} is needed")
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        subprocess.run(  # noqa: S603 - its name is ours
            [
                browser,
                *flags,
                f"--user-data-dir={profile}",
                f"--window-size={SIZE}",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            check=True,
            timeout=120,
        )


def main() -> None:
    """Run, report, and draw."""
    with tempfile.TemporaryDirectory() as folder:
        photograph(write_report(answered_prompts(Path(folder))), PICTURE)


if __name__ == "__main__":
    main()
