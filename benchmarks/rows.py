"""P8 and P9: one run of very many rows through the command line, then the same command again.

    .venv/bin/python -m benchmarks rows            # 10,000 and 1,000,000 rows
    BENCH_ROWS=10000,100000,1000000,10000000 .venv/bin/python -m benchmarks rows

The endpoint answers at once, so this is the cost of the machinery: rows per second, peak memory,
the size of the journal, and how long it takes to see that nothing is left to do. Beyond two
million rows, all but the last hundred thousand are put into the journal beforehand, with answers
like those of the endpoint, and the run resumes from there: everything but sending is at full size.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.endpoint import served
from benchmarks.tables import QUICK, Bar, print_bars, print_table
from distilabel_endpoints._store.journal import Journal, Pace, Reader
from distilabel_endpoints.rows.intake import hashed

DEFAULT = "100,1000" if QUICK else "10000,1000000"
ROWS = tuple(int(count) for count in os.environ.get("BENCH_ROWS", DEFAULT).split(","))
MOST_SENT, SENT_BEYOND, BEGUN = (
    int(count) for count in os.environ.get("BENCH_SENT", "2000000,100000,1000").split(",")
)
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "rows.png"
PEAK = "import re, sys; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"


def timed(words: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a command."""
    code = (
        "import sys\n"
        f"sys.argv = {['distilabel-endpoints', *words]!r}\n"
        "from distilabel_endpoints.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"{PEAK}\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    return time.monotonic() - started, int(done.stdout.split()[-1]) / 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One run, and the same command once more."""

    rows: int
    sent: int
    wall: float
    peak: float
    journal_mb: float
    again: float
    peak_again: float

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        return (
            f"{self.rows:,}",
            f"{self.sent:,}",
            f"{self.wall:.1f}",
            f"{self.rows / self.wall:,.0f}" if self.sent == self.rows else "",
            f"{self.peak:.0f}",
            f"{self.journal_mb:.1f}",
            f"{self.again:.1f}",
            f"{self.peak_again:.0f}",
        )


def line(n: int) -> bytes:
    """The text of row `n`."""
    return b'{"id": %d, "prompt": "Question %d?"}' % (n, n)


def fill(output: Path, start: int, stop: int) -> None:
    """Put answers to these rows into the journal of a run that has begun."""
    with Reader(output) as reader:
        spec = reader.header.spec
        (like,) = (record.result for record in reader.results(0, 1))
    with Journal(output, spec, pace=Pace(group=8192, delay=1.0)) as journal:
        for n in range(start, stop):
            journal.append(replace(like, ordinal=n), hashed(line(n)))
            if journal.backlog > 65_536:
                journal.flush()


def measure(count: int, folder: Path) -> Found:
    """Make so many rows, run, and run again."""
    rows, output = folder / f"{count}.jsonl", folder / f"{count}-out.jsonl"
    with rows.open("wb") as file:
        for n in range(count):
            file.write(line(n) + b"\n")
    with served("--tokens", "8") as endpoint:
        words = ["generate", str(rows), "-o", str(output), "--base-url", endpoint.url]
        words += ["--max-concurrency", "64", "--quiet"]
        sent = count
        if count > MOST_SENT:
            sent = SENT_BEYOND
            timed([*words, "--limit", str(BEGUN)])
            fill(output, BEGUN, count - sent)
        wall, peak = timed(words)
        again, peak_again = timed(words)
    journal = output.with_name(f"{output.name}.journal").stat().st_size
    return Found(
        rows=count,
        sent=sent,
        wall=wall,
        peak=peak,
        journal_mb=journal / 2**20,
        again=again,
        peak_again=peak_again,
    )


def draw(found: list[Found]) -> None:
    """How the figures grow with the rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    counts = [one.rows for one in found]
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for panel, (title, values) in zip(
        panels,
        {
            "peak memory, MB": [one.peak for one in found],
            "journal, bytes a row": [one.journal_mb * 2**20 / one.rows for one in found],
            "same command again, seconds": [one.again for one in found],
        }.items(),
        strict=True,
    ):
        panel.plot(counts, values, marker="o")
        panel.set_xscale("log")
        panel.set_ylim(0, 1.3 * max(values))
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("rows")
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Print the table and the targets."""
    heads = (
        "rows",
        "sent",
        "wall s",
        "rows/s",
        "peak MB",
        "journal MB",
        "resume s",
        "resume peak MB",
    )
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(count, Path(folder)) for count in ROWS]
    print_table("one run, zero latency, 64 in flight", heads, [one.cells for one in found])
    if len(found) > 2:
        draw(found)
    few, many = found[0], found[-1]
    print_bars(
        Bar("P8", f"peak memory, {many.rows:,} rows over {few.rows:,}", many.peak / few.peak, 1.1),
        Bar("P8", f"peak memory, {many.rows:,} rows", many.peak, 300, unit="MB"),
        Bar("P9", f"resume of {many.rows:,} finished rows", many.again, 5, unit="s"),
    )


if __name__ == "__main__":
    main()
