"""What a killed worker or driver costs, refusals across actors, and the command line over Ray."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from command import environment, run, start
from ray_command import finish

from distilabel_endpoints import InferenceEndpointsLLM, RunSummary, generate_dataset
from distilabel_endpoints.errors import FingerprintError, InputChangedError
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.ray import generate_ray, read_rows, write_shards
from distilabel_endpoints.ray.folder import open_folder
from distilabel_endpoints.runs import read_status
from distilabel_endpoints.testing import Fault, Latency, Limits, Respond, SimulatedEndpoint, Token

Make = Callable[..., SimulatedEndpoint]

pytestmark = [
    pytest.mark.usefixtures("default_signals"),
    pytest.mark.prove,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in the driver's process
]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Where a test's output goes."""
    return tmp_path / "out"


def write_rows(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            file.write(json.dumps({"id": n, "prompt": f"Question {n}?"}) + "\n")
    return path


def rows_in(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return sorted(rows, key=lambda row: int(row["id"]))


def asked(endpoint: SimulatedEndpoint) -> Counter[str]:
    """How often each question was answered."""
    return Counter(
        r.body["messages"][-1]["content"] for r in endpoint.generations if r.status == 200
    )


def wait_for(endpoint: SimulatedEndpoint, ready: Callable[[], bool]) -> None:
    """Until `ready`, looked at whenever the endpoint has something new."""
    endpoint.wait_for(lambda _: ready(), timeout=120)


def test_a_killed_actor_costs_no_row(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """Its blocks are done again elsewhere: nothing lost, nothing twice, the ceiling kept."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.05))
    path = write_rows(tmp_path / "in.jsonl", 1500)
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=16) as llm:
        ds = generate_ray(llm, read_rows(str(path)), rows_per_block=32, max_new_tokens=4)
        writing = threading.Thread(target=write_shards, args=(ds, shards))
        writing.start()
        wait_for(endpoint, lambda: len(endpoint.generations) > 300)
        workers = [
            process
            for process in psutil.Process().children(recursive=True)
            if "GenerateRows" in " ".join(process.cmdline())
        ]
        assert len(workers) == 2
        workers[0].kill()
        writing.join()
    found = rows_in(shards)
    assert [row["id"] for row in found] == list(range(1500))
    assert all(row["error"] is None for row in found)
    again = sum(times - 1 for times in asked(endpoint).values())
    assert again <= 8 * 32


def coordinators() -> set[psutil.Process]:
    """Those of this session; one of an earlier run lives as long as something refers to it."""
    ours = psutil.Process().children(recursive=True)
    return {one for one in ours if " ".join(one.cmdline()).startswith("ray::Coord")}


def test_a_killed_coordinator_is_made_anew(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """The new one begins with what workers hold: the ceiling is kept and the run continues."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.05))
    path = write_rows(tmp_path / "in.jsonl", 3000)
    before = coordinators()
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=10) as llm:
        ds = generate_ray(llm, read_rows(str(path)), rows_per_block=64, max_new_tokens=4)
        writing = threading.Thread(target=write_shards, args=(ds, shards))
        writing.start()
        wait_for(endpoint, lambda: len(endpoint.generations) > 300)
        (coordinator,) = coordinators() - before
        coordinator.kill()
        writing.join()
    assert endpoint.peak_in_flight <= 10
    assert [row["id"] for row in rows_in(shards)] == list(range(3000))


def test_a_storm_of_refusals_costs_no_row(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """Several actors on a server that refuses above eight: every row is answered."""
    endpoint = simulated_endpoint(
        flavor="vllm", slots=8, limits=Limits(queue=0), latency=Latency(0.05)
    )
    path = write_rows(tmp_path / "in.jsonl", 1200)
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        ds = generate_ray(llm, read_rows(str(path)), actors=3, rows_per_block=64, max_new_tokens=4)
        write_shards(ds, shards)
    found = rows_in(shards)
    assert [row["id"] for row in found] == list(range(1200))
    assert all(row["error"] is None for row in found)
    assert set(asked(endpoint).values()) == {1}
    assert endpoint.statistics().by_status[429] < 1200


def test_a_finished_output_is_not_done_again(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """The same pipeline once more sends nothing and writes nothing; a bad row is left out."""
    endpoint = simulated_endpoint(flavor="vllm")
    path = write_rows(tmp_path / "in.jsonl", 200)
    path.write_text(path.read_text(encoding="utf-8") + "not json\n", encoding="utf-8")
    for _ in range(2):
        with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
            ds = generate_ray(llm, read_rows(str(path)), on_bad_row="skip", max_new_tokens=4)
            write_shards(ds, shards)
    assert [row["id"] for row in rows_in(shards)] == list(range(200))
    assert len(endpoint.generations) == 200


def test_a_killed_driver_is_gone_on_with(
    simulated_endpoint: Make, tmp_path: Path, shards: Path, short_folder: str
) -> None:
    """After SIGKILL the same command does the rest: nothing lost or twice, no shard redone."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.02))
    path = write_rows(tmp_path / "in.jsonl", 3000)
    words: tuple[object, ...] = (
        "generate",
        path,
        "-o",
        shards,
        "--base-url",
        endpoint.url,
        "--ray",
    )
    words = (*words, "--max-new-tokens", 4, "--max-concurrency", 8)
    driver = start(*words, RAY_TMPDIR=short_folder)
    checkpoint = shards.with_name("out.checkpoint")

    def committed() -> list[Path]:
        return [note for note in checkpoint.glob("*.parquet") if ".pending" not in note.name]

    wait_for(endpoint, lambda: len(committed()) >= 2)
    others = psutil.Process(driver.pid).children(recursive=True)
    assert others
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    senders = [process for process in others if process.name().startswith("ray::Map")]
    _, left = psutil.wait_procs(senders, timeout=60)
    assert left == []
    for process in others:  # Ray's own agents take minutes to notice
        if process.is_running():
            process.kill()
    done = {
        identity.split("-")[0]
        for note in committed()
        for identity in pq.read_table(note).column("row_id").to_pylist()
    }
    assert 0 < len(done) < 3000
    assert f"{len(done):,} ok, 0 failed of 3,000 rows" in run("status", shards).stdout
    finished = finish(*words, RAY_TMPDIR=short_folder)
    assert finished.returncode == 0, finished.stderr
    assert [row["id"] for row in rows_in(shards)] == list(range(3000))
    times = asked(endpoint)
    assert all(times[f"Question {int(ordinal)}?"] == 1 for ordinal in done)


def test_failed_rows_and_interrupts_over_ray(
    simulated_endpoint: Make, tmp_path: Path, shards: Path, short_folder: str
) -> None:
    """Failed rows are exit code 2 and done again; Ctrl-C is 130; the message names what failed."""
    endpoint = simulated_endpoint(
        flavor="vllm", latency=Latency(0.02), faults=(Fault(Respond(400), marker="Question 7?"),)
    )
    path = write_rows(tmp_path / "in.jsonl", 600)
    words: tuple[object, ...] = (
        "generate",
        path,
        "-o",
        shards,
        "--base-url",
        endpoint.url,
        "--ray",
        "--json",
    )
    words = (*words, "--max-new-tokens", 4, "--max-concurrency", 4)
    first = start(*words, RAY_TMPDIR=short_folder)
    wait_for(endpoint, lambda: len(endpoint.generations) > 300)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=240)
    assert first.returncode == 130, said
    second = finish(*words, RAY_TMPDIR=short_folder)
    assert second.returncode == 2, second.stderr
    last = json.loads(second.stdout.splitlines()[-1])
    assert (last["ok"], last["failed"]) == (599, 1)
    (group,) = json.loads(run("status", shards, "--json").stdout)["failures"]
    told = ("kind", "status", "message", "hint", "count", "example_ordinal")
    assert {name: group[name] for name in told} == {
        name: last["failures"][0][name] for name in told
    }
    endpoint.clear_faults()
    third = finish(*words, RAY_TMPDIR=short_folder)
    assert third.returncode == 0, third.stderr
    found = rows_in(shards)
    assert [row["id"] for row in found] == list(range(600))
    assert all(row["error"] is None for row in found)


def test_rows_left_out_over_ray_are_told_afterwards(
    simulated_endpoint: Make, tmp_path: Path, shards: Path, short_folder: str
) -> None:
    """`--on-bad-row skip`: summary and status count them, and nothing is left, again and again."""
    endpoint = simulated_endpoint(flavor="vllm")
    path = write_rows(tmp_path / "in.jsonl", 20)
    path.write_text(path.read_text(encoding="utf-8") + "not json\n", encoding="utf-8")
    words = ("generate", path, "-o", shards, "--base-url", endpoint.url, "--ray", "--json")
    for _ in range(2):
        done = finish(*words, "--on-bad-row", "skip", RAY_TMPDIR=short_folder)
        assert done.returncode == 0, done.stderr
        last = json.loads(done.stdout.splitlines()[-1])
        said = json.loads(run("status", shards, "--json").stdout)
        for counts in (last, said):
            assert (counts["ok"], counts["skipped"], counts["pending"]) == (20, 1, 0)
    assert len(endpoint.generations) == 20


def test_a_revoked_token_over_ray_is_exit_code_3(
    simulated_endpoint: Make, tmp_path: Path, shards: Path, short_folder: str
) -> None:
    """The endpoint's refusal ends the run with its reason; what was written stays."""
    endpoint = simulated_endpoint(flavor="vllm", tokens=(Token("hf_good"),), latency=Latency(0.02))
    path = write_rows(tmp_path / "in.jsonl", 2000)
    words: tuple[object, ...] = (
        "generate",
        path,
        "-o",
        shards,
        "--base-url",
        endpoint.url,
        "--ray",
    )
    words = (*words, "--max-new-tokens", 4, "--max-concurrency", 8)
    first = start(*words, RAY_TMPDIR=short_folder, HF_TOKEN="hf_good")
    wait_for(endpoint, lambda: len(endpoint.generations) > 600)
    endpoint.revoke("hf_good")
    _, said = first.communicate(timeout=240)
    assert first.returncode == 3, said
    assert "401" in said
    assert "hf_good" not in said


def test_a_run_over_ray_from_python(
    simulated_endpoint: Make,
    tmp_path: Path,
    shards: Path,
    short_folder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the run of the command line: checked, resumable, and a failed row may be fixed."""
    monkeypatch.setenv("RAY_TMPDIR", short_folder)
    refuses = Fault(Respond(400, {"error": "too long"}), marker="TOO LONG")
    endpoint = simulated_endpoint(flavor="vllm", faults=(refuses,))
    path = write_rows(tmp_path / "in.jsonl", 20)
    rows = path.read_text(encoding="utf-8")

    def generate(**more: Any) -> RunSummary:
        quiet = open_progress("quiet")
        done = generate_dataset(llm, path, shards, ray="local", progress=quiet, **more)
        return done.summary

    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=4) as llm:
        path.write_text(rows.replace("Question 19?", "TOO LONG"), encoding="utf-8")
        summary = generate(max_new_tokens=4)
        assert (summary.ok, summary.failed, summary.exit_code) == (19, 1, 2)
        (group,) = summary.failures
        assert (group.status, group.example_ordinal, group.count) == (400, 19, 1)
        assert read_status(shards, opener=open_folder).failures == summary.failures
        with pytest.raises(FingerprintError, match="max_new_tokens"):
            generate(max_new_tokens=5)
        path.write_text(rows, encoding="utf-8")
        sent = len(endpoint.generations)
        assert generate(max_new_tokens=4).ok == 20
        assert len(endpoint.generations) == sent + 1
        for fewer in ("", rows.partition("\n")[0], rows.replace("Question 3?", "Other?")):
            path.write_text(fewer, encoding="utf-8")
            with pytest.raises(InputChangedError):
                generate(max_new_tokens=4)
    assert [row["id"] for row in rows_in(shards)] == list(range(20))
    assert all(row["generation"] for row in rows_in(shards))
    assert len(endpoint.generations) == sent + 1


def test_rows_are_printed_when_a_job_has_finished(
    simulated_endpoint: Make,
    tmp_path: Path,
    short_folder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`-o -` gives the bytes of a run of one process, errors too; a key reaches all workers."""
    monkeypatch.chdir(tmp_path)
    refuses = Fault(Respond(400, {"error": "too long"}), marker="Question 7?")
    endpoint = simulated_endpoint(flavor="vllm", tokens=(Token("key-mine"),), faults=(refuses,))
    path = write_rows(tmp_path / "in.jsonl", 100)
    with path.open("a", encoding="utf-8") as file:
        file.write('\n{"id": 100, "prompt": 7}\nnot json\n')
    words = ("generate", path, "-o", "-", "--base-url", endpoint.url, "--max-new-tokens", 4)
    driver = start(
        *words, "--ray", "--api-key-env", "MY_KEY", RAY_TMPDIR=short_folder, MY_KEY="key-mine"
    )
    printed, shown = driver.communicate(timeout=240)
    assert driver.returncode == 2, shown
    with InferenceEndpointsLLM(base_url=endpoint.url, api_key="key-mine") as llm:
        generate_dataset(llm, path, tmp_path / "local.jsonl", max_new_tokens=4)
    assert printed == (tmp_path / "local.jsonl").read_text(encoding="utf-8")
    assert "99 ok, 3 failed of 102 rows" in run("status", tmp_path / "in.answers").stdout


def test_a_full_disk_over_ray_is_exit_code_4(
    simulated_endpoint: Make, tmp_path: Path, shards: Path, short_folder: str
) -> None:
    """A task that cannot write its shard is this machine's trouble, not the endpoint's."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.05))
    path = write_rows(tmp_path / "in.jsonl", 400)
    words = ("generate", path, "-o", shards, "--base-url", endpoint.url, "--ray")
    driver = start(*words, "--max-concurrency", 8, RAY_TMPDIR=short_folder)
    wait_for(endpoint, lambda: len(endpoint.generations) > 20)
    shutil.rmtree(shards)
    shards.write_text("in the way")
    _, said = driver.communicate(timeout=180)
    assert driver.returncode == 4, said
    assert "Stopped by the endpoint" not in said
    assert "Traceback" not in said


def test_the_pipeline_of_the_docs(
    simulated_endpoint: Make, tmp_path: Path, shards: Path, short_folder: str
) -> None:
    """The block of docs/scale.md ends as it should: rows written, and not a word of a thread."""
    endpoint = simulated_endpoint(flavor="vllm")
    path = write_rows(tmp_path / "prompts.jsonl", 40)
    page = Path(__file__).parents[2] / "docs" / "scale.md"
    block = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    for old, new in (
        ("http://10.0.0.7:8080", endpoint.url),
        ("/mnt/shared/prompts.jsonl", str(path)),
        ("/mnt/shared/answers", str(shards)),
        ("actors=4", "actors=2"),
    ):
        assert old in block
        block = block.replace(old, new)
    done = subprocess.run(
        [sys.executable, "-c", block],
        check=False,
        capture_output=True,
        text=True,
        env=environment(RAY_TMPDIR=short_folder),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [row["id"] for row in rows_in(shards)] == list(range(40))
    for wrong in ("Traceback", "Exception in thread", "not running"):
        assert wrong not in done.stdout + done.stderr, done.stderr
