"""Where a setting of the command line comes from, and what is refused before any request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import arguments, environment, rows_of, run, write_rows

from distilabel_endpoints.cli import EXIT_CODES, main
from distilabel_endpoints.testing import SimulatedEndpoint, Token

Make = Callable[..., SimulatedEndpoint]
PREFIX = "DISTILABEL_ENDPOINTS_GENERATE_"
NOWHERE = ("--base-url", "http://127.0.0.1:1")
DOCS = Path(__file__).parents[2] / "docs" / "command-line.md"


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """A command over one row, without a target."""
    return ["generate", write_rows(tmp_path / "rows.jsonl", 1), "-o", tmp_path / "out.jsonl"]


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """What a command says that is refused before it starts, run in this process."""

    def refused(*words: object, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["distilabel-endpoints", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        return " ".join(capsys.readouterr().err.split())

    return refused


def test_a_variable_holds_one_value(simulated_endpoint: Make, words: list[object]) -> None:
    """Blanks do not split the value of a flag that may be repeated."""
    endpoint = simulated_endpoint(flavor="vllm")
    more = {f"{PREFIX}STOP": "### End of", f"{PREFIX}PARAM": 'logit_bias={"5": -1, "6": 1}'}
    done = run(*words, "--base-url", endpoint.url, **more)
    assert done.returncode == 0, done.stderr
    body = endpoint.generations[0].body
    assert (body["stop"], body["logit_bias"]) == (["### End of"], {"5": -1, "6": 1})


@pytest.mark.parametrize(
    ("flags", "variables", "said"),
    [
        (["--temperature", "0.7", "--param", "temperature=0.1"], {}, "temperature is given twice"),
        (["--stop", "a", "--param", 'stop_sequences=["b"]'], {}, "stop_sequences is given twice"),
        (["--param", "top_k=1", "--param", "top_k=2"], {}, "top_k is given twice"),
        (["--seed", "1", "--seed", "2"], {}, "--seed is given twice"),
        (["-n", "1", "--num-generations", "2"], {}, "--num-generations is given twice"),
        (["--param", "seed=1"], {f"{PREFIX}SEED": "2"}, f"{PREFIX}SEED and --param seed="),
        ([], {f"{PREFIX}TEMPERATURE": "hot"}, f"{PREFIX}TEMPERATURE: 'hot'"),
        ([], {f"{PREFIX}TEMPRATURE": "1"}, f"Did you mean {PREFIX}TEMPERATURE?"),
        ([], {"DISTILABEL_GENERATE_SEED": "1"}, f"Did you mean {PREFIX}SEED?"),
        ([], {"DISTILABEL_ENDPOINTS_SEED": "1"}, "DISTILABEL_ENDPOINTS_SEED sets nothing"),
        ([], {f"{PREFIX}API_KEY": "s3cr3t"}, f"Set {PREFIX}API_KEY_ENV"),
        (["--api-key", "s3cr3t"], {}, "--api-key-env NAME"),
        (["--api-key-env", "s3cr3t-key"], {}, "not the key"),
        (["--api-key-env", "s3cr3t"], {}, "is not set"),
        (["--api-key-env", "MY_KEY"], {"MY_KEY": " "}, "variable MY_KEY is not set, or empty"),
        (["--model-id", "a/b"], {}, "given: --model-id and --base-url"),
        (["--local"], {}, "given: --base-url and --local"),
        ([], {f"{PREFIX}ENDPOINT_NAME": "mine"}, f"{PREFIX}ENDPOINT_NAME and --base-url"),
    ],
)
def test_mistakes_are_refused_by_name(
    refused: Callable[..., str],
    words: list[object],
    flags: list[str],
    variables: dict[str, str],
    said: str,
) -> None:
    """Exit 1 before any request; the message says where, and never repeats a key."""
    shown = refused(*words, *NOWHERE, *flags, **variables)
    assert said in shown
    assert "s3cr3t" not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temperature: warm", "temperature: 'warm' is not a valid float"),
        ("seed: true", "seed: True is not a whole number"),
        ("seed: 1.5", "seed: 1.5 is not a whole number"),
        ("stop: no", "stop: False is not text; put it in quotes"),
        ("system: [a, b]", "system: ['a', 'b'] is not text"),
        ("wake: 3", "wake: 3 is not true or false"),
        ("on_bad_row: ignore", "on_bad_row: 'ignore' is not one of"),
        ("param: [top_k]", "param: 'top_k' is not NAME=JSON"),
        (
            "temperature: 0.7\nparam: {temperature: 0.1}",
            "temperature in CONFIG and param in CONFIG",
        ),
        ("temperature: 0.7\ntemperature: 0.1", "temperature is given twice"),
        ("max-new-tokens: 5\nmax_new_tokens: 6", "max_new_tokens is given twice"),
        ("model_id: a/b", "model_id in CONFIG and --base-url"),
        ("api_key: s3cr3t", "api_key_env"),
        ("- temperature", "must hold settings by name"),
    ],
)
def test_a_wrong_settings_file_is_named(
    refused: Callable[..., str], words: list[object], tmp_path: Path, text: str, said: str
) -> None:
    """File, key and value are in the message."""
    config = tmp_path / "run.yaml"
    config.write_text(text)
    shown = refused(*words, *NOWHERE, "--config", config)
    assert said.replace("CONFIG", str(config)) in shown
    assert str(config) in shown
    assert "s3cr3t" not in shown


def test_a_settings_file_takes_what_flags_take(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Input, output, numbers, switches, lists, tables, the key's variable: no flag is needed."""
    endpoint = simulated_endpoint(flavor="vllm")
    settings = {
        "input": str(write_rows(tmp_path / "rows.jsonl", 3)),
        "output": str(tmp_path / "out.jsonl"),
        "base-url": [endpoint.url],
        "api_key_env": "MY_KEY",
        "limit": 2,
        "json": True,
        "wake": False,
        "seed": None,
        "stop": ["a b", 5],
        "timeout": 60,
        "param": {"top_k": 7, "logit_bias": {"5": -1}},
    }
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps(settings))
    done = run("generate", "--config", config, MY_KEY="s3cr3t")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["ok"] == 2
    body = endpoint.generations[0].body
    assert (body["stop"], body["top_k"], body["logit_bias"]) == (["a b", "5"], 7, {"5": -1})
    assert endpoint.generations[0].headers["authorization"] == "Bearer s3cr3t"


def test_a_key_is_sent_from_the_variable_that_is_named(
    simulated_endpoint: Make, words: list[object], tmp_path: Path
) -> None:
    """To the target only, and it is in no file and on no stream."""
    endpoint = simulated_endpoint(tokens=(Token("s3cr3t-key"),))
    target = ("--base-url", endpoint.url)
    assert run(*words, *target).returncode == 3
    done = run(*words, *target, "--api-key-env", "MY_KEY", MY_KEY="s3cr3t-key\n")
    assert done.returncode == 0, done.stderr
    written = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    shown = [done.stdout.encode(), done.stderr.encode(), *written]
    assert not [text for text in shown if b"s3cr3t" in text]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_stop_nothing(
    simulated_endpoint: Make, words: list[object], tmp_path: Path, closed: str
) -> None:
    """Every command ends with 0, and no file gets what was meant for a stream."""
    target = ["--base-url", simulated_endpoint().url]
    commands = (
        [*words, *target, "--dry-run"],
        [*words, *target, "--json"],
        [*words, *target, "--fresh"],
        ["status", tmp_path / "out.jsonl"],
        ["export", tmp_path / "out.jsonl"],
    )
    for command in commands:
        line = ["bash", "-c", f'exec "$@" {closed}', "bash", *arguments(*command)]
        done = subprocess.run(line, check=False, capture_output=True, env=environment())
        assert done.returncode == 0, (command, done.stderr)
    assert [bool(row["generation"]) for row in rows_of(tmp_path / "out.jsonl")] == [True]


def test_help_fits_two_screens() -> None:
    """`-h` shows groups, examples and the defaults that decide results, at 80 columns."""
    shown = run("generate", "-h", COLUMNS="80").stdout
    lines = shown.splitlines()
    assert len(lines) <= 120  # two screens of sixty lines
    headings = [line.rstrip(":") for line in lines if line.endswith(":") and line[0] != " "]
    assert headings[:2] == ["The most used", "Prompts"]
    text = " ".join(shown.split())
    for default in ("[default: 128]", "[default: 600]", "[default: 900]", "[default: 1800]"):
        assert default in text


def test_exit_codes_are_documented() -> None:
    """In `--help` and in docs/command-line.md, in the same words."""
    shown = run("--help").stdout
    page = DOCS.read_text(encoding="utf-8")
    for code, meaning in EXIT_CODES.items():
        assert f"{code:<4} {meaning}" in shown
        assert f"| {code} | {meaning} |" in page


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there(shell: str) -> None:
    """The documented variable prints the script; INPUT completes as a file."""
    done = subprocess.run(
        [sys.executable, "-m", "distilabel_endpoints"],
        check=False,
        capture_output=True,
        text=True,
        env=environment(_DISTILABEL_ENDPOINTS_COMPLETE=f"{shell}_source"),
    )
    assert done.returncode == 0, done.stderr
    assert "distilabel-endpoints" in done.stdout
    asked = {"COMP_WORDS": "distilabel-endpoints generate ro", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "distilabel_endpoints"],
        check=False,
        capture_output=True,
        text=True,
        env=environment(_DISTILABEL_ENDPOINTS_COMPLETE="bash_complete", **asked),
    )
    assert done.stdout.strip() == "file,ro"
