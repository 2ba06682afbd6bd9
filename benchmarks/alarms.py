"""What watching a run costs, how often good text is taken for a loop, and what a real model does.

    .venv/bin/python -m benchmarks alarms

Good text is this project's own: documentation and source, cut into pieces of 1,000 characters. The
real model is the embedded one, SmolLM2-135M, asked forty questions at temperature 0 and 0.7. The
cost is that of all that is done for the report and the alarms, beside the CPU time of a whole run.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.endpoint import served
from benchmarks.tables import Bar, print_bars, print_table, size
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._store.history import History
from distilabel_endpoints.dataset import generate_dataset
from distilabel_endpoints.local import LocalEndpoint
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.quality.alarms import Alarms, Watch
from distilabel_endpoints.quality.loops import loop_period
from distilabel_endpoints.records import Answer, Completion, Result, Usage
from distilabel_endpoints.run_state import RunPhase, RunSnapshot
from distilabel_endpoints.runs.recorder import Recorder
from distilabel_endpoints.served import Served

ROOT = Path(__file__).parents[1]
PIECE = 1000
ROWS = size(4_000, 200)
WATCHED = size(20_000, 500)
SNAPSHOTS = 4.0
"""A second: as often as a run is looked at."""
QUESTIONS = (
    "Write a haiku about the sea.",
    "List ten animals.",
    "Explain gravity to a child.",
    "Count from one to fifty.",
    "Tell a story about a lost key.",
    "What is 12 times 12? Show your work.",
    "Describe the taste of an apple.",
    "Write a poem of four lines.",
    "Why is the sky blue?",
    "Give three reasons to walk to work.",
    "Write a letter to a neighbour.",
    "What are prime numbers?",
    "Translate 'good morning' into ten languages.",
    "Write a short speech about friendship.",
    "How do you boil an egg?",
    "Name the planets and say one thing of each.",
    "Write a function that adds two numbers.",
    "What would you take to an island?",
    "Describe a market on a Saturday.",
    "Write a list of things to do today.",
    "List all even numbers.",
    "Write a song with a refrain.",
    "Name fifty rivers.",
    "Write a dialogue of two friends about the weather.",
    "Explain how a bicycle stays upright.",
    "List the letters of the alphabet, each with a word.",
    "Write the rules of a card game.",
    "What does a baker do all day?",
    "Write a recipe for a vegetable soup.",
    "Tell me everything about ants.",
    "Write a table of the squares of 1 to 30.",
    "Describe a dream.",
    "How is paper made?",
    "Write a prayer for rain.",
    "Give directions from the station to the library.",
    "What is the longest word that you know?",
    "Write an advertisement for a broom.",
    "List the days of the year that are holidays.",
    "Continue: one sheep, two sheep, three sheep,",
    "Write a summary of a book that does not exist.",
)


def pieces() -> list[str]:
    """Good text."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/**/*.py")]
    texts = [file.read_text(encoding="utf-8") for file in sorted(files)]
    return [text[n : n + PIECE] for text in texts for n in range(0, len(text), PIECE)]


def seconds(call: Callable[[int], object], times: int) -> float:
    """Of one call."""
    started = time.process_time()
    for n in range(times):
        call(n)
    return (time.process_time() - started) / times


def run_cost() -> float:
    """CPU seconds of a row, of a whole run in this process."""
    with tempfile.TemporaryDirectory() as folder, served("--flavor", "vllm") as endpoint:
        rows = Path(folder) / "rows.jsonl"
        rows.write_text(
            "".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(ROWS))
        )
        with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=64) as llm:
            llm.load()
            before = resource.getrusage(resource.RUSAGE_SELF)
            generate_dataset(llm, rows, Path(folder) / "out.jsonl", progress=open_progress("quiet"))
            after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / ROWS


def watch_cost(texts: list[str]) -> float:
    """Of one row, sent and ended."""
    watch = Watch(Alarms())

    def row(n: int) -> None:
        text = texts[n % len(texts)]
        watch.sent(n, text[::-1])
        completion = Completion(text=text, finish_reason="stop")
        watch.ended(Result(ordinal=n, completions=(completion,), failures=(None,)))

    return seconds(row, WATCHED)


def count_cost() -> float:
    """Of one answer in the figures by endpoint and provider."""
    counted = Served()
    answer = Answer(completions=(Completion(text="x"),), usage=Usage(9, 99), first_token=0.2)
    return seconds(lambda n: counted.add(answer, 0.1 + n % 100 / 100), WATCHED)


def sample_cost() -> float:
    """Of one look at the run for its history, writing now and then included."""
    parts = {("http://localhost:8000", f"provider-{n}"): Served() for n in range(4)}
    answer = Answer(completions=(Completion(text="x"),), usage=Usage(9, 99), first_token=0.2)
    for n in range(2000):
        for part in parts.values():
            part.add(answer, 0.01 * (n % 997))
    base = RunSnapshot(elapsed=0.0, phase=RunPhase.RUNNING, limit=64, limit_reason="start")
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "out.jsonl")
        looks = size(400, 40)
        cost = seconds(
            lambda n: recorder.observe(
                replace(base, ok=n, served={key: part.copy() for key, part in parts.items()})
            ),
            looks,
        )
        history = History()
        history.served = parts
        return cost + seconds(lambda _: history.write(Path(folder) / "out.jsonl"), 20) / 20


def answers() -> dict[float, list[str]]:
    """What the embedded model answers, by temperature."""
    answered: dict[float, list[str]] = {}
    with LocalEndpoint() as endpoint:
        for temperature in (0.0, 0.7):
            with InferenceEndpointsLLM(base_url=endpoint.base_url) as llm:
                inputs = [[{"role": "user", "content": question}] for question in QUESTIONS]
                outputs = llm.generate(
                    inputs, max_new_tokens=size(512, 32), temperature=temperature, seed=1
                )
                answered[temperature] = [texts[0] or "" for texts in outputs]
    return answered


def main() -> None:
    """Print the tables and the target."""
    good = pieces()
    loops = [piece for piece in good if loop_period(piece) is not None]
    packed = [p for p in good if len(p) > 4 * len(zlib.compress(p.encode()))]
    print_table(
        f"Good text taken for a loop, {len(good):,} pieces of {PIECE:,} characters",
        ("rule", "pieces", "share"),
        [
            ("the tail repeats (ours)", f"{len(loops)}", f"{100 * len(loops) / len(good):.2f} %"),
            (
                "zlib packs it to a quarter",
                f"{len(packed)}",
                f"{100 * len(packed) / len(good):.2f} %",
            ),
        ],
    )
    answered = answers()
    print_table(
        "Answers of SmolLM2-135M that end in a loop",
        ("temperature", "answers", "loops"),
        [
            (f"{t:g}", f"{len(texts)}", f"{sum(loop_period(x) is not None for x in texts)}")
            for t, texts in answered.items()
        ],
    )
    row, watched, counted, look = run_cost(), watch_cost(good), count_cost(), sample_cost()
    a_second = SNAPSHOTS * look
    share = (watched + counted) / row + a_second
    print_table(
        f"CPU, a run of {ROWS:,} rows with 64 in flight",
        ("what", "cost"),
        [
            ("the run, per row", f"{1e6 * row:.0f} us"),
            ("alarms, per row with an answer of 1,000 characters", f"{1e6 * watched:.1f} us"),
            ("latencies, per row", f"{1e6 * counted:.1f} us"),
            ("history, per look at the run", f"{1e6 * look:.0f} us"),
        ],
    )
    print_bars(
        Bar("report", "all of it, of a core that is busy with the run", 100 * share, 3.0, unit="%")
    )
