"""The two processes of a soak: an endpoint that is never well for long, and who works with it.

`soak.py serve` prints its URL and serves until its standard input ends. `soak.py run URL FOLDER
SECONDS ROWS` does run after run of so many rows, through both client libraries, and prints what the
process holds after each, as a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.testing import (
    BreakStream,
    Drip,
    Fault,
    Garble,
    Hang,
    Latency,
    Limits,
    Refuse,
    Reset,
    Respond,
    Rewrite,
    SimulatedEndpoint,
    Throttle,
    Truncate,
    edits,
)

LEAST_ROUNDS = 6
FAULTS = (
    Fault(Respond(500), every=61),
    Fault(Reset(), every=83),
    Fault(Throttle(0.1), every=97),
    Fault(Reset("body"), every=113),
    Fault(Truncate(), every=131),
    Fault(Garble(edits.truncated_json), every=149),
    Fault(Rewrite(edits.no_choices), every=151),
    Fault(BreakStream("cut", events=2), every=29),
    Fault(Drip(0.0), every=211),
    Fault(Respond(400, {"error": "no"}), every=331),
    Fault(Respond(503), every=401),
    Fault(Hang(), every=997),
    Fault(Refuse(0.3), every=5003),
)


def serve() -> None:
    """The endpoint."""
    limits = Limits(random_refusals=0.01)
    latency = Latency(0.005, sigma=0.5)
    with SimulatedEndpoint(faults=FAULTS, limits=limits, latency=latency, log=False) as endpoint:
        say({"url": endpoint.url})
        sys.stdin.read()


def run(url: str, folder: Path, seconds: float, count: int) -> None:
    """Run after run, for so long."""
    rows = folder / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "Question {n}?"}}\n' for n in range(count)))
    inputs = [[{"role": "user", "content": f"Ask {n}?"}] for n in range(count // 4)]
    end, rounds = time.monotonic() + seconds, 0
    with ExitStack() as stack:
        llms = [stack.enter_context(open_llm(url, openai=openai)) for openai in (False, True)]
        while rounds < LEAST_ROUNDS or time.monotonic() < end:
            llm = llms[rounds % 2]
            output = folder / f"out-{rounds % 3}.jsonl"
            summary = generate_dataset(
                llm, rows, output, fresh=True, progress=open_progress("quiet")
            ).summary
            outputs = llm.generate_outputs(inputs)
            rounds += 1
            gc.collect()
            say(
                {
                    "round": rounds,
                    "ok": summary.ok + sum(output["errors"] == [None] for output in outputs),
                    "failed": summary.failed,
                    **held(),
                    "tasks": sum(engine_of(llm).run(count_tasks) for llm in llms),
                }
            )


def open_llm(url: str, *, openai: bool) -> InferenceEndpointsLLM:
    """Through one of the libraries; every second request of the other is streamed."""
    return InferenceEndpointsLLM(
        base_url=url, use_openai_client=openai, stream=openai, max_concurrency=32, timeout=2.0
    )


async def count_tasks() -> int:
    """Those of the engine's loop, this one among them."""
    return len(asyncio.all_tasks())


def held() -> dict[str, Any]:
    """What this process has of what can leak."""
    process = psutil.Process()
    return {
        "memory": process.memory_info().rss,
        "files": process.num_fds(),
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
    }


def say(line: dict[str, Any]) -> None:
    """One line for who started this."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["run", url, folder, seconds, count]:
            run(url, Path(folder), float(seconds), int(count))
        case _:
            raise SystemExit(__doc__)
