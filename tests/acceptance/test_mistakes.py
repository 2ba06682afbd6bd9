"""The likeliest mistakes: each answers in a sentence or two that name the fix."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distilabel_endpoints.cli import main
from distilabel_endpoints.testing import SimulatedEndpoint, Token

Make = Callable[..., SimulatedEndpoint]
OPEN, KEYED, NOWHERE = "OPEN", "KEYED", "http://127.0.0.1:1"
MISTAKES = {
    "nothing named": (["p.jsonl"], 1, "Choose one: --base-url, --model-id"),
    "no input": (["--local"], 1, "generate --local prompts.jsonl"),
    "no such input": (["q.jsonl", "--base-url", OPEN], 1, "Did you mean p.jsonl?"),
    "two inputs": (["p.jsonl", "q.jsonl", "--base-url", OPEN], 1, "There is one INPUT"),
    "two targets": (["p.jsonl", "--base-url", OPEN, "--local"], 1, "Keep one."),
    "not running": (["p.jsonl", "--base-url", NOWHERE], 3, "Cannot connect to 127.0.0.1:1"),
    "not running, fix": (["p.jsonl", "--base-url", NOWHERE], 3, "Is the server started?"),
    "no key": (["p.jsonl", "--base-url", KEYED], 3, "No key was sent. Give one as"),
    "no key, status": (["p.jsonl", "--base-url", KEYED], 3, "The endpoint answered 401:"),
    "no scheme": (["p.jsonl", "--base-url", "localhost:8080"], 1, "as in https://host:port"),
    "wrong path": (["p.jsonl", "--base-url", f"{OPEN}/x"], 3, "Check the URL's path"),
    "other columns": (["other.jsonl", "--base-url", OPEN], 1, "Name --input-column question"),
    "column typo": (
        ["p.jsonl", "--base-url", OPEN, "--input-column", "promt"],
        1,
        "Name --input-column prompt",
    ),
    "template typo": (
        ["p.jsonl", "--base-url", OPEN, "--template", "{{ promt }}"],
        1,
        "Did you mean 'prompt'?",
    ),
    "flag typo": (["p.jsonl", "--temprature", "1"], 1, "Did you mean one of: '--temperature'"),
    "parameter typo": (
        ["p.jsonl", "--base-url", OPEN, "--param", "max_tokens=5"],
        1,
        "Did you mean 'max_new_tokens'?",
    ),
    "output exists": (["p.jsonl", "-o", "mine.jsonl", "--base-url", OPEN], 1, "--fresh"),
    "output is input": (["p.jsonl", "-o", "p.jsonl", "--base-url", OPEN], 1, "another output"),
    "output format": (["p.jsonl", "-o", "a.xlsx", "--base-url", OPEN], 1, "give .jsonl"),
    "output folder": (["p.jsonl", "-o", "no/a.jsonl", "--base-url", OPEN], 1, "no such folder"),
    "key as a flag": (["p.jsonl", "--api-key", "s3cr3t"], 1, "--api-key-env NAME"),
}


@pytest.fixture
def mistaken(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    simulated_endpoint: Make,
) -> Callable[[list[str]], tuple[int, str]]:
    """Exit code and words of `generate` in a folder of prompts, without a key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    Path("p.jsonl").write_text('{"prompt": "a"}\n')
    Path("other.jsonl").write_text('{"question": "a"}\n')
    Path("mine.jsonl").write_text('{"a": 1}\n')

    def mistaken(words: list[str]) -> tuple[int, str]:
        if any(OPEN in word for word in words):
            url = simulated_endpoint().url
            words = [word.replace(OPEN, url) for word in words]
        if KEYED in words:
            url = simulated_endpoint(tokens=(Token("s3cr3t"),)).url
            words = [word.replace(KEYED, url) for word in words]
        monkeypatch.setattr(sys, "argv", ["distilabel-endpoints", "generate", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code)), capsys.readouterr().err

    return mistaken


@pytest.mark.filterwarnings("ignore:.*does not say which model it serves")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_its_fix(
    mistaken: Callable[[list[str]], tuple[int, str]], name: str
) -> None:
    """Few lines, no traceback, nothing of a key, and the fix in them."""
    words, code, fix = MISTAKES[name]
    exit_code, shown = mistaken(words)
    assert exit_code == code
    assert fix in " ".join(shown.split())
    assert "Traceback" not in shown
    assert "s3cr3t" not in shown
    assert len(shown.splitlines()) <= 10


def test_status_of_nothing_names_the_runs_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typo in the name of an output is answered with the outputs of this folder."""
    monkeypatch.chdir(tmp_path)
    Path("answers.jsonl.journal").touch()
    monkeypatch.setattr(sys, "argv", ["distilabel-endpoints", "status", "anwsers.jsonl"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "Runs in this folder: answers.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--template", "{{ promt }}"],
        ["--template", "{prompt}"],
        ["--input-column", "promt"],
        ["--output", "mine.jsonl"],
    ],
)
def test_mistakes_in_files_are_found_before_the_endpoint_is_asked(
    simulated_endpoint: Make,
    mistaken: Callable[[list[str]], tuple[int, str]],
    words: list[str],
) -> None:
    """Not even a question for its name goes out: that could wake it, or hide the mistake."""
    endpoint = simulated_endpoint()
    code, _ = mistaken(["p.jsonl", "--base-url", endpoint.url, *words])
    assert code == 1
    assert len(endpoint.requests) == 0
