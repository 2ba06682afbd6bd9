"""`report`: what a page shows of a run, from a journal or shards, also during the run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command import run, start, write_rows
from test_hostile_pages import Page

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.dataset import generate_dataset
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.report import write_comparison, write_report
from distilabel_endpoints.testing import Fault, Latency, Respond, SimulatedEndpoint
from distilabel_endpoints.testing.answer_request import AnswerRequest

Make = Callable[..., SimulatedEndpoint]

TOO_LONG = Fault(Respond(400, {"error": {"message": "too long"}}), marker="toolong")


def said(page: Path) -> str:
    """The text of a page, blanks made one."""
    return " ".join(" ".join(Page(page.read_text("utf-8")).texts).split())


def reply(request: AnswerRequest) -> str:
    text = str(request.messages)
    if "loop" in text:
        return "again and again, " * 20
    return "" if "empty" in text else f"An answer to {text[-12:-3]}"


def a_run(endpoint: SimulatedEndpoint, output: Path, rows: int = 60, **more: object) -> Path:
    """Of each ten prompts one is refused, one loops and one has an empty answer."""
    kinds = {1: " toolong", 2: " loop", 3: " empty"}
    prompts = output.with_suffix(".in.jsonl")
    lines = ({"prompt": f"Question {n}{kinds.get(n % 10, '')}"} for n in range(rows))
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with InferenceEndpointsLLM(base_url=endpoint.url, stream=True) as llm:
        generate_dataset(llm, prompts, output, progress=open_progress("quiet"), **more)  # type: ignore[arg-type]
    return output


def test_a_report_says_what_went_in_and_out(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Counts, shares, failures with examples, rows, speed; without a request to the endpoint."""
    endpoint = simulated_endpoint(flavor="vllm", reply=reply, faults=(TOO_LONG,))
    output = a_run(endpoint, tmp_path / "answers.jsonl")
    requests = len(endpoint.generations)
    text = said(write_report(output))
    assert len(endpoint.generations) == requests
    assert "54 rows ok of 60" in text
    assert "6 rows failed" in text
    assert re.search(r"loops the same piece of text again and again until the end 6 11 %", text)
    assert re.search(r"empty no text, or all tokens went into thinking 6 11 %", text)
    assert "HTTP 400 : 6 rows (10 %)" in text
    failures = text[text.index("HTTP 400") : text.index("rows at random")]
    assert [f"Row {n}" in failures for n in (2, 12, 22, 32)] == [True, True, True, False]
    assert "20 rows at random" in text
    assert "Question 4" in text
    for chart in ("Prompts", "Latency half below", "Time to first token"):
        assert chart in text


def test_the_same_rows_give_the_same_choice(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Two reports show the same rows, so that they can be talked about."""
    output = a_run(simulated_endpoint(flavor="vllm", reply=reply), tmp_path / "answers.jsonl")
    one, two = (said(write_report(output, tmp_path / f"{n}.html")) for n in "ab")
    made = r"Made by .*"
    assert re.sub(made, "", one) == re.sub(made, "", two)


def test_a_run_that_goes_on_can_be_looked_at(simulated_endpoint: Make, tmp_path: Path) -> None:
    """While it is written, by a command of its own; the run does not notice."""
    endpoint = simulated_endpoint(flavor="vllm", slots=2, latency=Latency(0.1))
    rows = write_rows(tmp_path / "rows.jsonl", 100)
    output = tmp_path / "out.jsonl"
    running = start("generate", rows, "-o", output, "--base-url", endpoint.url)
    try:
        while len(endpoint.generations) < 10:
            assert running.poll() is None
        done = run("report", output)
        assert done.returncode == 0, done.stderr
        text = said(tmp_path / "out.jsonl.report.html")
        assert "being written by process" in text
    finally:
        running.communicate(timeout=100)
    assert running.returncode == 0
    assert len(output.read_text().splitlines()) == 100


def test_generate_writes_the_report(simulated_endpoint: Make, tmp_path: Path) -> None:
    """With `--report`, also for a run with failed rows; the page is its owner's alone."""
    endpoint = simulated_endpoint(flavor="vllm", faults=(Fault(Respond(400), marker="Question 3"),))
    rows = write_rows(tmp_path / "rows.jsonl", 5)
    output = tmp_path / "out.jsonl"
    done = run("generate", rows, "-o", output, "--base-url", endpoint.url, "--report")
    assert done.returncode == 2
    page = tmp_path / "out.jsonl.report.html"
    assert f"report: {page}" in done.stderr
    assert "1 rows failed" in said(page)
    assert page.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("gone", ["input", "both"])
def test_prompts_of_an_input_that_is_gone(
    simulated_endpoint: Make, tmp_path: Path, gone: str
) -> None:
    """They are read from the output; without that, too, the page says why there are none."""
    output = a_run(simulated_endpoint(flavor="vllm", reply=reply), tmp_path / "answers.jsonl", 9)
    output.with_suffix(".in.jsonl").unlink()
    if gone == "both":
        output.unlink()
    text = said(write_report(output))
    assert ("Question 4" in text[text.index("at random") :]) is (gone == "input")
    assert ("The input cannot be read" in text) is (gone == "both")


def test_two_runs_side_by_side(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Figures, settings that differ, and rows by ordinal: first those that went otherwise."""
    faulty = simulated_endpoint(flavor="vllm", reply=reply, faults=(TOO_LONG,))
    one = a_run(simulated_endpoint(flavor="vllm", reply=reply), tmp_path / "one.jsonl")
    two = a_run(faulty, tmp_path / "two.jsonl", temperature=0.5)
    text = said(write_comparison(one, two))
    assert "rows ok 60 54" in text
    assert re.search(r'parameters \{[^}]*\} \{"temperature": 0.5\}', text)
    only_b = text[text.index("Failed in B only") : text.index("Failed in A only")]
    assert re.findall(r"Row (\d+) Question", only_b) == ["2", "12", "22", "32", "42", "52"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "nothing.jsonl"], "there is no run on"),
        (["view", "nothing.jsonl"], "there is no run on"),
        (["report", "nothing.jsonl", "-o", "report.txt"], "a report is a file named .html"),
        (["view", "nothing.jsonl", "--only", "odd"], "there is no filter 'odd'"),
    ],
)
def test_what_is_not_there_is_refused(words: list[str], message: str) -> None:
    """With exit 1 and what is wrong."""
    done = run(*words)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_report_never_replaces_an_output(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Not even one that is named like a page."""
    output = a_run(simulated_endpoint(flavor="vllm"), tmp_path / "answers.jsonl", 3)
    with pytest.raises(ConfigurationError, match=r"named \.html"):
        write_report(output, output)


def test_a_report_can_be_printed(simulated_endpoint: Make, tmp_path: Path) -> None:
    """On paper everything is open, black on white, and no row or chart is cut by a page's end."""
    endpoint = simulated_endpoint(flavor="vllm", reply=reply)
    page = write_report(a_run(endpoint, tmp_path / "answers.jsonl", rows=10)).read_text("utf-8")
    sheet = page.partition("<style>")[2].partition("</style>")[0]
    screen, _, paper = sheet.partition("@media print")
    rules = {names.strip(): rule for names, rule in re.findall(r"([^{};]+)\{([^{}]*)\}", paper)}
    assert "content-visibility: visible" in rules["details::details-content"]
    assert "max-height: none" in rules["pre"]
    assert re.search(r"color-scheme: light; .*--paper: #fff;", paper)
    uncut = [names for names, rule in rules.items() if "break-inside: avoid" in rule]
    assert [".row" in names for names in uncut] == [True]
    assert re.search(r"figure \{[^}]*break-inside: avoid", screen)
    assert page.count('<details class="row">') >= 10
