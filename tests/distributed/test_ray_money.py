"""One budget and one watch for a job over real Ray, whatever is lost or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from command import arguments, environment, run, start
from ray_command import finish

from distilabel_endpoints.testing import Fault, Latency, Rewrite, SimulatedEndpoint, edits

Make = Callable[..., SimulatedEndpoint]

pytestmark = [
    pytest.mark.usefixtures("default_signals"),
    pytest.mark.prove,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in the driver's process
]


def write_rows(path: Path, count: int) -> Path:
    lines = [json.dumps({"id": n, "prompt": f"Say something about {n}."}) for n in range(count)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def words_of(rows: Path, out: Path, endpoint: SimulatedEndpoint) -> tuple[object, ...]:
    """The command that answers the rows over Ray."""
    return ("generate", rows, "-o", out, "--base-url", endpoint.url, "--ray", "--json")


def billed(endpoint: SimulatedEndpoint) -> int:
    """Tokens, for whatever was generated."""
    return sum(r.input_tokens + r.output_tokens for r in endpoint.generations)


def last_event(done: Any) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return event


def test_a_job_keeps_to_its_budget(
    simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """It ends with exit code 6 near its budget and not beyond, and a larger one resumes it."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.02))
    rows, out = write_rows(tmp_path / "in.jsonl", 500), tmp_path / "out"
    words = words_of(rows, out, endpoint)
    done = finish(*words, "--budget", "6ktok", RAY_TMPDIR=short_folder)
    assert done.returncode == 6, done.stderr
    last = last_event(done)
    assert last["ending"] == "budget"
    assert 0 < last["ok"] < 500
    assert 5_600 < billed(endpoint) <= last["spent"]["tokens"] <= 6_000
    status = json.loads(run("status", out, "--json").stdout)
    assert status["spent"]["tokens"] == last["spent"]["tokens"]
    again = finish(*words, "--budget", "1Mtok", RAY_TMPDIR=short_folder)
    assert again.returncode == 0, again.stderr
    assert last_event(again)["ok"] == 500
    assert len(endpoint.generations) == 500
    assert last_event(again)["spent"]["tokens"] == billed(endpoint)


def workers_of(driver: Any) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(driver.pid).children(recursive=True)
        if "GenerateRows" in " ".join(process.cmdline())
    ]


def test_killed_workers_and_drivers_are_paid_for(
    simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """What was in flight when a worker or the driver was killed counts as spent, in one budget."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.3))
    rows, out = write_rows(tmp_path / "in.jsonl", 2000), tmp_path / "out"
    words = (*words_of(rows, out, endpoint), "--budget", "30ktok", "--max-concurrency", 16)
    driver = start(*words, RAY_TMPDIR=short_folder)
    endpoint.wait_for(lambda _: len(endpoint.generations) > 200, timeout=120)
    workers_of(driver)[0].kill()
    endpoint.wait_for(lambda _: len(endpoint.generations) > 500, timeout=120)
    others = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    for process in others:
        if process.is_running():
            process.kill()
    before = billed(endpoint)
    told = json.loads(run("status", out, "--json").stdout)["spent"]
    assert before <= told["tokens"] <= 30_000
    done = finish(*words, RAY_TMPDIR=short_folder)
    assert done.returncode == 6, done.stderr
    assert before < billed(endpoint) <= last_event(done)["spent"]["tokens"] <= 30_000


def test_a_pilot_over_ray_is_the_runs_own(
    simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """Random rows first, a forecast, exit code 8; with a yes the others, and no row twice."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.02))
    rows, out = write_rows(tmp_path / "in.jsonl", 400), tmp_path / "out"
    limits = ("--pilot", 60, "--price-in", 1, "--price-out", 2, "--max-concurrency", 8)
    words = (*words_of(rows, out, endpoint), *limits)
    done = finish(*words, RAY_TMPDIR=short_folder)
    assert done.returncode == 8, done.stderr
    last = last_event(done)
    assert (last["ending"], last["ok"], last["pending"]) == ("pilot", 60, 340)
    forecast = last["forecast"]
    assert (forecast["rows"], forecast["sample"]) == (400, 60)
    assert forecast["hours"] is not None
    assert "--yes" in last["resume_command"]
    assert len({r.body["messages"][-1]["content"] for r in endpoint.generations}) == 60
    again = finish(*words, "--yes", RAY_TMPDIR=short_folder)
    assert again.returncode == 0, again.stderr
    assert len(endpoint.generations) == 400
    total = sum(r.output_tokens for r in endpoint.generations)
    assert forecast["output_tokens"]["low"] <= total <= forecast["output_tokens"]["high"]
    assert last_event(again)["spent"]["tokens"] == billed(endpoint)


def test_an_alarm_pauses_a_job_over_ray(
    simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """Cohorts of all workers count; the job ends with code 7, keeps what it has, and is resumed."""
    endpoint = simulated_endpoint(
        flavor="vllm", latency=Latency(0.1), faults=(Fault(Rewrite(edits.finished("length"))),)
    )
    rows, out = write_rows(tmp_path / "in.jsonl", 1500), tmp_path / "out"
    words = (*words_of(rows, out, endpoint), "--max-concurrency", 16)
    done = finish(
        *words, "--alarm", "truncated=20%", "--on-alarm", "pause", RAY_TMPDIR=short_folder
    )
    assert done.returncode == 7, done.stderr
    last = last_event(done)
    assert last["ending"] == "alarm"
    assert "were cut off" in last["reason"]
    assert 50 <= last["ok"] < 1500
    assert last["ok"] + last["pending"] == 1500
    assert last["resume_command"][-2:] == ["--alarm", "off"]
    assert len(endpoint.generations) == last["ok"], "what was in flight has finished and is kept"
    again = finish(*words, "--alarm", "off", RAY_TMPDIR=short_folder)
    assert again.returncode == 0, again.stderr
    assert len(endpoint.generations) == 1500


def test_a_job_over_ray_is_steered_and_reported(
    simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """Paused, resumed with another ceiling and budget; the report shows what was changed."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.2))
    rows, out = write_rows(tmp_path / "in.jsonl", 2000), tmp_path / "out"
    words = words_of(rows, out, endpoint)
    limits = ("--budget", "1Mtok", "--max-concurrency", 8)
    driver = start(*words, *limits, RAY_TMPDIR=short_folder)
    assert driver.stdout is not None

    def wait_for(is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for line in driver.stdout or ():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "progress" and is_so(event):
                return event
        raise AssertionError(driver.stderr.read() if driver.stderr else "")

    wait_for(lambda event: event["ok"] > 20)
    assert run("tune", out, "--pause").returncode == 0
    wait_for(lambda event: bool(event["waiting"]) and event["in_flight"] == 0)
    sent = len(endpoint.generations)
    for _ in range(3):
        wait_for(lambda event: bool(event["waiting"]))
    assert len(endpoint.generations) == sent < 2000
    changes = ("--resume", "--max-concurrency", 12, "--budget", "12ktok")
    assert run("tune", out, *changes).returncode == 0
    _, shown = driver.communicate(timeout=240)
    assert driver.returncode == 6, shown
    assert 11_000 < billed(endpoint) <= 12_000
    assert 8 < endpoint.peak_in_flight <= 12
    status = json.loads(run("status", out, "--json").stdout)
    assert status["spent"]["budget"] == "12ktok"
    assert status["spent"]["tokens"] >= billed(endpoint)
    page = tmp_path / "page.html"
    assert run("report", out, "-o", page).returncode == 0
    text = page.read_text(encoding="utf-8")
    assert "the budget is now 12ktok" in text
    assert "max_concurrency is now 12, resumed" in text


def driver_in_a_terminal(words: tuple[object, ...], folder: str) -> subprocess.Popen[str]:
    """A command with a process group of its own, which gets the signals that a terminal sends."""
    return subprocess.Popen(
        arguments(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(RAY_TMPDIR=folder),
        start_new_session=True,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_keeps_what_was_paid_for(
    number: signal.Signals, code: int, simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """As a terminal sends it, to every process: all answers are kept, and none is paid twice."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.3))
    rows, out = write_rows(tmp_path / "in.jsonl", 1200), tmp_path / "out"
    words = (*words_of(rows, out, endpoint), "--max-concurrency", 16)
    driver = driver_in_a_terminal(words, short_folder)
    endpoint.wait_for(lambda _: len(endpoint.generations) > 200, timeout=120)
    # SIGTERM is for one process: `kill PID` and managers of services send it to the driver.
    (os.killpg if number is signal.SIGINT else os.kill)(driver.pid, number)
    shown, errors = driver.communicate(timeout=240)
    assert driver.returncode == code, errors
    last = json.loads(shown.splitlines()[-1])
    assert (last["ending"], last["journal"]) == ("interrupted", str(out))
    assert 200 < last["ok"] < 1200
    assert last["ok"] == len(endpoint.generations)
    assert last["spent"]["tokens"] == billed(endpoint)
    again = finish(*words, RAY_TMPDIR=short_folder)
    assert again.returncode == 0, again.stderr
    assert len(endpoint.generations) == 1200
    assert last_event(again)["spent"]["tokens"] == billed(endpoint)


def test_a_budget_in_dollars_over_ray(
    simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """It ends at 95 to 100 % of it, by the endpoint's own count; `spent` says the same dollars."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.05))
    rows, out = write_rows(tmp_path / "in.jsonl", 2000), tmp_path / "out"
    words = (*words_of(rows, out, endpoint), "--price-in", 100, "--price-out", 200)
    done = finish(*words, "--budget", "$2", "--max-new-tokens", 16, RAY_TMPDIR=short_folder)
    assert done.returncode == 6, done.stderr
    spent = last_event(done)["spent"]
    bill = sum(100 * r.input_tokens + 200 * r.output_tokens for r in endpoint.generations) / 10**6
    assert 1.9 < bill <= 2
    assert bill <= spent["dollars"] <= 2
    assert spent["dollars"] - spent["unknown_dollars"] == pytest.approx(bill)


def test_a_budget_of_time_over_ray(
    simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """After it nothing more is sent, what is answered is kept, and a longer one resumes."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.5))
    rows, out = write_rows(tmp_path / "in.jsonl", 20_000), tmp_path / "out"
    words = (*words_of(rows, out, endpoint), "--max-concurrency", 8)
    driver = start(*words, RAY_TMPDIR=short_folder)
    endpoint.wait_for(lambda _: len(endpoint.generations) > 20, timeout=240)
    status = json.loads(run("status", out, "--json").stdout)
    seconds = int(status["spent"]["seconds"]) + 20
    assert run("tune", out, "--budget", f"{seconds}s").returncode == 0
    shown, errors = driver.communicate(timeout=240)
    assert driver.returncode == 6, errors
    last = json.loads(shown.splitlines()[-1])
    assert last["spent"]["budget"] == f"{seconds}s"
    assert last["spent"]["seconds"] >= seconds - 10
    assert last["ok"] + last["pending"] == 20_000
    assert last["ok"] <= len(endpoint.generations) <= last["ok"] + 16


def test_a_job_without_a_budget_gets_one(
    simulated_endpoint: Make, tmp_path: Path, short_folder: str
) -> None:
    """`tune --budget` limits the tokens of a job that began without; it ends near it."""
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.2))
    rows, out = write_rows(tmp_path / "in.jsonl", 3000), tmp_path / "out"
    words = (*words_of(rows, out, endpoint), "--max-concurrency", 8, "--max-new-tokens", 16)
    driver = start(*words, RAY_TMPDIR=short_folder)
    endpoint.wait_for(lambda _: len(endpoint.generations) > 20, timeout=240)
    assert run("tune", out, "--budget", "12ktok").returncode == 0
    shown, errors = driver.communicate(timeout=240)
    assert driver.returncode == 6, errors
    last = json.loads(shown.splitlines()[-1])
    assert (last["ending"], last["spent"]["budget"]) == ("budget", "12ktok")
    assert 11_000 < billed(endpoint) <= last["spent"]["tokens"] <= 12_000
