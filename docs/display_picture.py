"""Draws docs/images/display.svg: a real run against the simulated endpoint, and how it ended.

python docs/display_picture.py
"""

from __future__ import annotations

import io
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.progress.block import block
from distilabel_endpoints.progress.formatting import Line, Style
from distilabel_endpoints.progress.outlet import Outlet
from distilabel_endpoints.progress.report import report
from distilabel_endpoints.progress.sinks import QuietProgress
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, RunSummary
from distilabel_endpoints.testing import Latency, SimulatedEndpoint

PICTURE = Path(__file__).parent / "images" / "display.svg"
WIDTH = 80
COLOURS = {
    Style.DIM: "dim",
    Style.STRONG: "bold",
    Style.LABEL: "cyan",
    Style.GOOD: "green",
    Style.NOTICE: "yellow",
    Style.BAD: "red",
}


class Kept(QuietProgress):
    """Keeps the last look before three quarters were done, and the end."""

    snapshot: RunSnapshot
    summary: RunSummary

    def update(self, snapshot: RunSnapshot) -> None:
        """Keep it while the run is on its way."""
        early = snapshot.total is not None and snapshot.done < 0.75 * snapshot.total
        if snapshot.phase is RunPhase.RUNNING and early:
            self.snapshot = snapshot

    def finish(self, summary: RunSummary) -> None:
        """Keep it."""
        self.summary = replace(summary, output="answers.jsonl")


def watched_run(rows: int = 2_000) -> Kept:
    """A run of that many rows, in an empty folder."""
    kept = Kept(Outlet(io.StringIO()))
    latency = Latency(mean=0.5, sigma=0.6)
    with (
        tempfile.TemporaryDirectory() as folder,
        SimulatedEndpoint(slots=64, latency=latency) as endpoint,
    ):
        llm = InferenceEndpointsLLM(base_url=endpoint.url)
        prompts = [{"prompt": f"Question {number}?"} for number in range(rows)]
        generate_dataset(
            llm, prompts, Path(folder) / "answers.jsonl", max_new_tokens=256, progress=kept
        )
        llm.close()
    return kept


def styled(lines: list[Line]) -> Text:
    """The lines in the colours of a terminal."""
    text = Text()
    for spans in lines:
        for span in spans:
            text.append(span.text, COLOURS.get(span.style))
        text.append("\n")
    return text


def main() -> None:
    """Run, and draw."""
    kept = watched_run()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print("$ distilabel-endpoints generate prompts.jsonl -o answers.jsonl --base-url ...")
    console.print(styled(block(kept.snapshot, WIDTH)))
    console.print(styled(report(kept.summary, WIDTH)), end="")
    svg = console.export_svg(title="distilabel-endpoints")
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)  # rich's fonts are at another host's address
    PICTURE.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


if __name__ == "__main__":
    main()
