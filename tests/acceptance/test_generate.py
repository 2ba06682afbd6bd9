"""The command line against the simulated endpoint: what goes in, what comes out, what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ids_of, rows_of, run, write_rows

from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", 40)


def test_a_file_in_a_file_out(simulated_endpoint: Make, rows: Path, tmp_path: Path) -> None:
    """Exit 0; the input's columns unchanged and ours behind them, in input order."""
    endpoint = simulated_endpoint(flavor="vllm")
    for client in ("hf", "openai"):
        output = tmp_path / f"{client}.jsonl"
        done = run("generate", rows, "-o", output, "--base-url", endpoint.url, "--client", client)
        assert done.returncode == 0, done.stderr
        found = rows_of(output)
        assert ids_of(found) == [f"row-{n}" for n in range(40)]
        assert list(found[0]) == [
            "id",
            "messages",
            "generation",
            "model_name",
            "finish_reason",
            "input_tokens",
            "output_tokens",
            "error",
            "error_code",
            "reasoning",
            "failed_generation",
        ]
        assert all(row["generation"] and not row["error"] for row in found)
        assert done.stdout == ""


def test_a_finished_run_sends_nothing_again(
    simulated_endpoint: Make, rows: Path, tmp_path: Path
) -> None:
    """The same command twice: the second time no request goes out and the output stays."""
    endpoint = simulated_endpoint()
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    assert run(*words).returncode == 0
    before = (tmp_path / "out.jsonl").stat().st_mtime_ns
    sent = len(endpoint.generations)
    assert run(*words).returncode == 0
    assert len(endpoint.generations) == sent
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == before


def test_appended_rows_are_picked_up(simulated_endpoint: Make, rows: Path, tmp_path: Path) -> None:
    """Rows added at the end are done; the others are not done again."""
    endpoint = simulated_endpoint()
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    assert run(*words).returncode == 0
    write_rows(rows, 50)
    assert run(*words).returncode == 0
    assert len(endpoint.generations) == 50
    assert len(rows_of(tmp_path / "out.jsonl")) == 50


def test_other_settings_are_refused(simulated_endpoint: Make, rows: Path, tmp_path: Path) -> None:
    """Another temperature, or a changed row: exit 1, naming what differs and the ways on."""
    endpoint = simulated_endpoint()
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    assert run(*words, "--temperature", "0.5").returncode == 0
    other = run(*words, "--temperature", "0.6")
    assert other.returncode == 1
    assert all(word in other.stderr for word in ("temperature", "0.5", "0.6", "--fresh"))
    rows.write_text(rows.read_text().replace("Question 7?", "Question seven?"))
    changed = run(*words, "--temperature", "0.5")
    assert changed.returncode == 1
    assert "row 8" in changed.stderr
    assert run(*words, "--temperature", "0.5", "--fresh").returncode == 0


def test_failed_rows_are_said_and_tried_again(
    simulated_endpoint: Make, rows: Path, tmp_path: Path
) -> None:
    """Exit 2 with the reason and an example; the next run does those rows and exits 0."""
    refused = Fault(Respond(400, {"error": {"message": "no such language"}}), marker="Question 9?")
    endpoint = simulated_endpoint(faults=(refused,))
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    first = run(*words)
    assert first.returncode == 2
    assert "no such language" in first.stderr
    assert rows_of(tmp_path / "out.jsonl")[9]["error"]
    endpoint.clear_faults()
    sent = len(endpoint.generations)
    assert run(*words).returncode == 0
    assert len(endpoint.generations) == sent + 1
    assert rows_of(tmp_path / "out.jsonl")[9]["generation"]


@pytest.mark.parametrize(
    ("policy", "code", "left"), [("fail", 2, 4), ("skip", 0, 2), ("stop", 1, 0)]
)
def test_bad_rows(
    simulated_endpoint: Make, tmp_path: Path, policy: str, code: int, left: int
) -> None:
    """By policy: filed, left out, or a stop before any request; the line is named."""
    rows = tmp_path / "rows.jsonl"
    good = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
    rows.write_text(f'{good}\n{{"messages": [\n{good}\n{{"messages": []}}\n')
    endpoint = simulated_endpoint()
    output = tmp_path / "out.jsonl"
    done = run("generate", rows, "-o", output, "--base-url", endpoint.url, "--on-bad-row", policy)
    assert done.returncode == code, done.stderr
    assert len(rows_of(output) if output.exists() else []) == left
    if policy != "skip":
        assert "rows.jsonl:2" in done.stderr
    if policy == "stop":
        assert endpoint.generations == ()
        return
    said = json.loads(run("status", output, "--json").stdout)
    left_out = 2 if policy == "skip" else 0
    assert (said["skipped"], said["failed"], said["pending"]) == (left_out, 2 - left_out, 0)


def test_what_stops_a_run_is_said_with_the_way_on(
    simulated_endpoint: Make, rows: Path, tmp_path: Path
) -> None:
    """A 402 ends the run with exit 3; nothing is filed as failed, and the rerun finishes."""
    broke = Respond(402, {"error": "no credit"})
    from_the_thirtieth = tuple(Fault(broke, nth=number) for number in range(30, 90))
    endpoint = simulated_endpoint(faults=from_the_thirtieth)
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    stopped = run(*words)
    assert stopped.returncode == 3
    assert "credit" in stopped.stderr
    assert "0 failed" in run("status", tmp_path / "out.jsonl").stdout
    endpoint.clear_faults()
    assert run(*words).returncode == 0
    assert len(rows_of(tmp_path / "out.jsonl")) == 40


def test_standard_input(simulated_endpoint: Make, rows: Path, tmp_path: Path) -> None:
    """`-` reads JSON lines; piping the same rows again finds them done."""
    endpoint = simulated_endpoint()
    words = ["generate", "-", "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    for _ in range(2):
        assert run(*words, stdin=rows.read_text()).returncode == 0
    assert len(endpoint.generations) == 40
    assert len(rows_of(tmp_path / "out.jsonl")) == 40


def test_a_settings_file(simulated_endpoint: Make, rows: Path, tmp_path: Path) -> None:
    """Flag over environment over file; an unknown name is an error with the nearest."""
    endpoint = simulated_endpoint()
    settings = tmp_path / "run.toml"
    settings.write_text(
        f'base_url = "{endpoint.url}"\ntemperature = 0.1\nmax_new_tokens = 5\nseed = 1\n'
    )
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--config", settings]
    done = run(*words, "--seed", "3", DISTILABEL_ENDPOINTS_GENERATE_MAX_NEW_TOKENS="6")
    assert done.returncode == 0, done.stderr
    bodies = [record.body for record in endpoint.generations]
    assert {(body["temperature"], body["max_tokens"]) for body in bodies} == {(0.1, 6)}
    assert min(body["seed"] for body in bodies) == 3
    settings.write_text("temprature = 0.1\n")
    wrong = run(*words)
    assert wrong.returncode == 1
    assert "temprature" in wrong.stderr
    assert "'temperature'" in wrong.stderr


def test_events_for_machines(simulated_endpoint: Make, rows: Path, tmp_path: Path) -> None:
    """`--json`: one object a line on stdout, the last of them `finished`."""
    endpoint = simulated_endpoint()
    done = run("generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "finished"
    assert events[-1]["ok"] == 40


def test_a_dry_run_sends_no_generation(
    simulated_endpoint: Make, rows: Path, tmp_path: Path
) -> None:
    """The plan, the first request and an estimate; no output, no request."""
    endpoint = simulated_endpoint(flavor="vllm")
    done = run(
        "generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url, "--dry-run"
    )
    assert done.returncode == 0
    assert "Question 0?" in done.stdout
    assert "vllm" in done.stdout
    assert 'parameters    {"max_new_tokens": 128}' in done.stdout
    assert endpoint.generations == ()
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("bad", "words", "code", "said"),
    [
        (1, [], 0, "rows.jsonl (5 rows)"),
        (1, ["--limit", "3"], 0, "rows.jsonl (the first 3 of 5 rows)"),
        (1, ["--on-bad-row", "stop"], 1, "1 row cannot be sent, so no request was sent"),
        (5, [], 1, "none of the 5 rows"),
    ],
)
def test_a_dry_run_ends_as_the_run_would(
    simulated_endpoint: Make, tmp_path: Path, bad: int, words: list[str], code: int, said: str
) -> None:
    """Every bad row, the true number of rows, and exit 1 if the run would refuse the input."""
    rows = write_rows(tmp_path / "rows.jsonl", 5)
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join(["not JSON"] * bad + lines[bad:]) + "\n")
    endpoint = simulated_endpoint(flavor="vllm")
    done = run("generate", rows, "-o", tmp_path / "o.jsonl", "--base-url", endpoint.url, *words)
    shown = run(
        *("generate", rows, "-o", tmp_path / "dry.jsonl", "--base-url", endpoint.url),
        *("--dry-run", *words),
    )
    assert shown.returncode == code
    assert (done.returncode == 1) == (code == 1)
    assert said in shown.stdout + shown.stderr
    assert shown.stdout.count("bad row  ") == bad


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--base-url", "http://localhost:1", "--temperature", "hot"], "--temperature"),
        ([], "Choose one: --base-url, --model-id"),
        (["--base-url", "ftp://x"], "base_url"),
        (["--base-url", "http://localhost:1", "--param", "x"], "NAME=JSON"),
        (["--base-url", "http://localhost:1", "--max-tokens", "3"], "--max-new-tokens"),
    ],
)
def test_wrong_usage(rows: Path, tmp_path: Path, words: list[str], said: str) -> None:
    """Exit 1, and the flag is named."""
    done = run("generate", rows, "-o", tmp_path / "out.jsonl", *words)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.promise("S1")
def test_the_token_is_nowhere(simulated_endpoint: Make, rows: Path, tmp_path: Path) -> None:
    """Sent to the endpoint, and in no output, message or journal."""
    endpoint = simulated_endpoint()
    canary = "hf_CANARYcanaryCANARY"
    done = run(
        "generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url, HF_TOKEN=canary
    )
    assert endpoint.generations[0].headers["authorization"] == f"Bearer {canary}"
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    shown = [done.stdout.encode(), done.stderr.encode(), *files]
    assert not [text for text in shown if canary.encode() in text]
