"""What `run_matrix.py` checks in an environment, with that environment's Python.

The documented calls, runs over endpoints that queue, refuse and fail, what each installed extra is
for, and for each that is missing the error that names it. Needs nothing but the product.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from distilabel.llms.huggingface import InferenceEndpointsLLM as Documented
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.testing import (
    Fault,
    Latency,
    Limits,
    Reset,
    Respond,
    SimulatedEndpoint,
)

ROWS: Final = 150
HELLO: Final = [{"role": "user", "content": "Hello world!"}]
MODULES: Final = {
    "openai": "openai",
    "tokenizer": "transformers",
    "datasets": "datasets",
    "ray": "ray",
    "local": "xllamacpp",
}
"""Extras, and the module without which each is missing."""
LONGEST: Final = 180.0


def has(module: str) -> bool:
    """Whether it can be imported here."""
    return importlib.util.find_spec(module) is not None


def check(right: bool, what: object) -> None:
    """Stop with what was seen, unless it is right."""
    if not right:
        raise AssertionError(what)


class Folder:
    """A folder for one check, and the command line in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prompts(self, count: int = ROWS) -> Path:
        """A file of prompts, each different."""
        path = self.path / "prompts.jsonl"
        path.write_text("".join(json.dumps({"prompt": f"Row {n}"}) + "\n" for n in range(count)))
        return path

    def command(self, *words: object, tail: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command line here, as a shell does."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        line = ["bash", "-c", f'exec "$@" {tail}', "bash", sys.executable]
        return subprocess.run(
            [*line, "-m", "distilabel_endpoints", *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.path,
            timeout=LONGEST,
            env={**kept, "HF_HUB_DISABLE_TELEMETRY": "1"},
        )

    def generate(self, *words: object, count: int = ROWS, tail: str = "") -> list[dict[str, Any]]:
        """A run of `count` prompts in which every row is ok; the rows."""
        output = self.path / "answers.jsonl"
        prompts = self.prompts(count)
        done = self.command("generate", prompts, "-o", output, "--fresh", *words, tail=tail)
        check(done.returncode == 0, (done.returncode, done.stderr[-800:]))
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        check([row["prompt"] for row in rows] == [f"Row {n}" for n in range(count)], rows[:2])
        check(all(row["generation"] and not row["error"] for row in rows), rows[:2])
        return rows

    def refused(self, extra: str, *words: object) -> None:
        """A command that needs an extra which is not here: exit 1, with the way to install it."""
        done = self.command("generate", "-o", self.path / "refused.jsonl", *words)
        check(done.returncode == 1, (done.returncode, done.stderr[-800:]))
        check(f"distilabel-endpoints[{extra}]" in done.stderr, done.stderr)


def queueing() -> SimulatedEndpoint:
    """More at once than it has slots waits."""
    return SimulatedEndpoint(slots=32, latency=Latency(0.05, sigma=0.5), log=False)


def refusing() -> SimulatedEndpoint:
    """More at once than it has slots is refused."""
    limits = Limits(queue=0)
    return SimulatedEndpoint(slots=32, latency=Latency(0.05, sigma=0.8), limits=limits, log=False)


def faulty() -> SimulatedEndpoint:
    """A tenth of the requests fails in passing."""
    faults = (Fault(Respond(500, {"error": "oops"}), every=10), Fault(Reset(), every=17))
    return SimulatedEndpoint(slots=32, latency=Latency(0.05), faults=faults, log=False)


def check_documented_calls(_: Folder) -> None:
    """Construct, load, generate and agenerate as the documentation shows them.

    Beside upstream, the object is an LLM of its pipelines, and an output has that form.
    """
    upstream = has("distilabel.mixins")
    with queueing() as server:
        llm: Any = Documented(base_url=server.url)
        llm.load()
        (output,) = llm.generate(inputs=[HELLO])
        check(isinstance((output["generations"] if upstream else output)[0], str), output)
        output = asyncio.run(llm.agenerate(input=HELLO))
        check(isinstance((output["generations"] if upstream else output)[0], str), output)
        (llm.unload if upstream else llm.close)()


def check_public_names(_: Folder) -> None:
    """Everything that the package promises is there, whatever else is installed."""
    package = importlib.import_module("distilabel_endpoints")
    for name in package.__all__:
        check(getattr(package, name) is not None, name)


def check_runs(folder: Folder) -> None:
    """Whole runs over the three kinds of endpoint: every row is ok."""
    for make in (queueing, refusing, faulty):
        with make() as server:
            folder.generate("--base-url", server.url)


def check_openai(folder: Folder) -> None:
    """The other client, or its name."""
    with refusing() as server:
        words = ("--base-url", server.url, "--client", "openai")
        if has("openai"):
            folder.generate(*words)
        else:
            folder.refused("openai", folder.prompts(), *words)


def check_tokenizer(folder: Folder) -> None:
    """Missing: its name. There: a folder that holds no tokenizer is named."""
    with queueing() as server:
        words = (folder.prompts(), "--base-url", server.url, "--tokenizer-id", "./nowhere")
        if has("transformers"):
            done = folder.command("generate", "-o", folder.path / "out.jsonl", *words)
            check(done.returncode == 1 and "./nowhere" in done.stderr, done.stderr)
        else:
            folder.refused("tokenizer", *words)


def check_datasets(folder: Folder) -> None:
    """Parquet in and out, or the extra's name; the Hub's data sets likewise."""
    with queueing() as server:
        words = ("--base-url", server.url)
        if has("datasets"):
            rows = folder.generate(*words)
            datasets = importlib.import_module("datasets")
            datasets.Dataset.from_list([{"prompt": row["prompt"]} for row in rows]).to_parquet(
                str(folder.path / "in.parquet")
            )
            output = folder.path / "out.parquet"
            done = folder.command("generate", "in.parquet", "-o", output, *words)
            check(done.returncode == 0, done.stderr[-800:])
            written = datasets.Dataset.from_parquet(str(output))
            check(written["prompt"][:] == [row["prompt"] for row in rows], written)
        else:
            folder.refused("datasets", "hf://datasets/owner/name", *words)
        if not has("pyarrow"):
            (folder.path / "in.parquet").write_bytes(b"PAR1")
            folder.refused("datasets", "in.parquet", *words)


def check_ray(folder: Folder) -> None:
    """A run over Ray, or the extra's name."""
    with queueing() as server:
        words = (folder.prompts(40), "--base-url", server.url, "--ray")
        if has("ray"):
            done = folder.command("generate", "-o", folder.path / "shards", *words)
            check(done.returncode == 0, done.stderr[-800:])
            status = json.loads(folder.command("status", "shards", "--json").stdout)
            check((status["ok"], status["failed"]) == (40, 0), status)
        else:
            done = folder.command("generate", "-o", folder.path / "shards", *words)
            check(done.returncode == 1, (done.returncode, done.stderr[-800:]))
            check("distilabel-endpoints[ray]" in done.stderr, done.stderr)


def check_local(folder: Folder) -> None:
    """Answers of the embedded model, or the extra's name."""
    if has("xllamacpp"):
        folder.generate("--local", "--max-new-tokens", "4", count=2)
    else:
        folder.refused("local", folder.prompts(), "--local")


def check_pipeline(_: Folder) -> None:
    """Without upstream, its modules name the extra; `make pipelines` is for the rest."""
    if has("distilabel.mixins"):
        check(issubclass(Documented, importlib.import_module("distilabel.models").LLM), Documented)
        return
    try:
        importlib.import_module("distilabel.pipeline")
    except ImportError as error:
        check("distilabel-endpoints[pipeline]" in str(error), error)
    else:
        check(False, "distilabel.pipeline was imported without upstream")


def check_uvloop(folder: Folder) -> None:
    """A program on uvloop, over an endpoint that refuses; the command line with closed streams."""
    if not has("uvloop"):
        return
    uvloop = importlib.import_module("uvloop")

    async def program(llm: InferenceEndpointsLLM) -> list[Any]:
        return await asyncio.gather(*(llm.agenerate(input=HELLO) for _ in range(ROWS)))

    with refusing() as server, InferenceEndpointsLLM(base_url=server.url) as llm:
        output = uvloop.run(program(llm))
        check(all(isinstance(row[0], str) for row in output), output[:2])
        output = llm.generate(inputs=[HELLO] * ROWS)
        check(all(isinstance(row[0], str) for row in output), output[:2])
    with queueing() as server:
        for closed in ("<&-", ">&-", "2>&-"):
            folder.generate("--base-url", server.url, count=3, tail=closed)


CHECKS: Final[tuple[Callable[[Folder], None], ...]] = (
    check_documented_calls,
    check_public_names,
    check_runs,
    check_openai,
    check_tokenizer,
    check_datasets,
    check_ray,
    check_local,
    check_pipeline,
    check_uvloop,
)


def main() -> int:
    """Run all checks; 1 if one was not right."""
    wrong = 0
    for one in CHECKS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as path:
            try:
                one(Folder(Path(path)))
                said = "ok"
            except Exception as error:  # noqa: BLE001 - the next check is run all the same
                wrong += 1
                said = f"WRONG {type(error).__name__}: {error}"
        name = one.__name__.removeprefix("check_")
        print(f"   {name:<17} {time.monotonic() - started:5.1f} s  {said}", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
