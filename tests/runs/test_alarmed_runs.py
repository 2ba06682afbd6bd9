"""Runs whose answers cannot be right: paused, resumable, and nothing finished is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import run, write_rows

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.dataset import generate_dataset
from distilabel_endpoints.errors import AlarmError, ConfigurationError
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.testing import Latency, SimulatedEndpoint
from distilabel_endpoints.testing.answer_request import AnswerRequest

Make = Callable[..., SimulatedEndpoint]
ROWS = 600


def one_text(_: AnswerRequest) -> str:
    return "I am here to help you with that."


def looping(_: AnswerRequest) -> str:
    return "The number is a number and so on. " * 10


def empty(_: AnswerRequest) -> str:
    return ""


@pytest.mark.parametrize(
    ("reply", "name"), [(one_text, "identical"), (looping, "loops"), (empty, "empty")]
)
def test_a_broken_model_pauses_a_run(
    simulated_endpoint: Make, tmp_path: Path, reply: Callable[[AnswerRequest], str], name: str
) -> None:
    """Exit 7 before most rows are paid for; `--alarm off` resumes and sends the rest, once."""
    endpoint = simulated_endpoint(flavor="vllm", slots=16, latency=Latency(0.02), reply=reply)
    rows, output = write_rows(tmp_path / "rows.jsonl", ROWS), tmp_path / "out.jsonl"
    words = ("generate", rows, "-o", output, "--base-url", endpoint.url, "--json")
    done = run(*words)
    finished = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 7 == finished["exit_code"]
    assert finished["ending"] == "alarm"
    alarm = next(alarm for alarm in finished["alarms"] if alarm["acts"])
    assert (alarm["name"], len(alarm["examples"])) == (name, 3)
    assert finished["ok"] + finished["pending"] == ROWS
    assert finished["ok"] < ROWS * 0.8
    assert finished["resume_command"][-2:] == ["--alarm", "off"]
    assert not output.exists()
    assert len(endpoint.generations) == finished["ok"]
    again = run(*words, "--alarm", "off")
    assert again.returncode == 0
    assert len(endpoint.generations) == ROWS
    assert len(output.read_text().splitlines()) == ROWS


def test_a_warning_stops_nothing(simulated_endpoint: Make, tmp_path: Path) -> None:
    """It is shown once, and stands in the summary; the run ends as always."""

    def reply(request: AnswerRequest) -> str:
        number = int("".join(filter(str.isdigit, str(request.messages))))
        return looping(request) if number % 4 == 0 else f"An answer to number {number}."

    endpoint = simulated_endpoint(flavor="vllm", reply=reply)
    rows, output = write_rows(tmp_path / "rows.jsonl", 300), tmp_path / "out.jsonl"
    done = run("generate", rows, "-o", output, "--base-url", endpoint.url)
    assert done.returncode == 0
    assert done.stderr.count("Alarm: ") == 1
    assert "end in a loop" in done.stderr
    paused = run(
        "generate", rows, "-o", tmp_path / "two.jsonl", "--base-url", endpoint.url,
        "--alarm", "loops=2%", "--on-alarm", "stop",
    )  # fmt: skip
    assert paused.returncode == 7
    assert "Paused by an alarm" in paused.stderr
    assert "--alarm off" in paused.stderr


def test_from_python_it_is_an_error_with_the_summary(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """`AlarmError` names the flaw and rows; the same call with alarms="off" resumes."""
    endpoint = simulated_endpoint(flavor="vllm", slots=16, latency=Latency(0.02), reply=one_text)
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:

        def generate(**more: object) -> object:
            quiet = open_progress("quiet")
            return generate_dataset(llm, rows, tmp_path / "o.jsonl", progress=quiet, **more)  # type: ignore[arg-type]

        with pytest.raises(ConfigurationError, match="no alarm"):
            generate(alarms={"nothing": 0.5})
        with pytest.raises(AlarmError) as caught:
            generate()
        assert caught.value.flaw == "identical"
        assert caught.value.summary.exit_code == 7
        generate(alarms="off")
    assert len(endpoint.generations) == ROWS
