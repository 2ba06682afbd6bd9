"""Where a setting of the command line comes from, and what is refused before any request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ended, environment, rows_of, run, started, write_rows

from distilabel_endpoints.cli import EXIT_CODES, main
from distilabel_endpoints.flag_values import Flag
from distilabel_endpoints.flags import generate_flags
from distilabel_endpoints.rows import default_output
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
        (["--seed", "1"], {f"{PREFIX}PARAM": "seed=2"}, f"--seed and {PREFIX}PARAM seed=..."),
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
            "temperature in CONFIG and param temperature=... in CONFIG. Keep one.",
        ),
        ("temperature: 0.7\ntemperature: 0.1", "temperature is given twice"),
        ("max-new-tokens: 5\nmax_new_tokens: 6", "max_new_tokens is given twice"),
        ("model_id: a/b", "model_id in CONFIG and --base-url"),
        ("api_key: s3cr3t", "api_key_env"),
        ("- temperature", "must hold settings by name"),
        ("row_settings: true\nno_row_settings: true", "row_settings is given twice"),
        ("no-stream: 5", "no_stream: 5 is not true or false"),
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
        "no-row-settings": True,
        "trusted_host": "127.0.0.1",
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
        with started(list(map(str, command)), environment(), closed=closed) as process:
            done = ended(process)
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


def test_ten_flags_stand_first_and_each_flag_has_a_group() -> None:
    """What most people need is on the first screen; nothing is listed apart from the groups."""
    flags = [flag for flag in generate_flags() if isinstance(flag, Flag)]
    assert len([flag for flag in flags if flag.group == "The most used"]) == 10
    assert all(flag.group != "Options" for flag in flags)
    shown = run("generate", "--help", COLUMNS="140").stdout.splitlines()
    assert len(shown) <= 120
    assert max(map(len, shown)) <= 100


def test_a_settings_file_in_this_folder_is_found_and_reported(
    simulated_endpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as if named with --config, is reported, and can be left out."""
    endpoint = simulated_endpoint(flavor="vllm")
    monkeypatch.chdir(tmp_path)
    write_rows(Path("rows.jsonl"), 1)
    settings = f'base_url = "{endpoint.url}"\nmax_new_tokens = 7\n'
    Path("distilabel-endpoints.toml").write_text(settings)
    done = run("generate", "rows.jsonl")
    assert done.returncode == 0, done.stderr
    assert "Settings from distilabel-endpoints.toml in this folder." in done.stderr
    assert len(rows_of(Path("rows.answers.jsonl"))) == 1
    assert endpoint.generations[0].body["max_tokens"] == 7
    assert "No target is given" in run("generate", "rows.jsonl", "--no-config").stderr
    Path("distilabel-endpoints.yaml").write_text("seed: 1")
    assert "are both in this folder" in run("generate", "rows.jsonl").stderr


def test_a_found_file_does_not_send_a_key_to_its_target(
    simulated_endpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of somebody else's data may hold a settings file: a key needs consent."""
    endpoint = simulated_endpoint()
    monkeypatch.chdir(tmp_path)
    write_rows(Path("rows.jsonl"), 1)
    text = f"base_url: {endpoint.url}\napi_key_env: MY_KEY\n"
    Path("distilabel-endpoints.yaml").write_text(text)
    refusal = run("generate", "rows.jsonl", MY_KEY="s3cr3t")
    assert refusal.returncode == 1
    assert "without your consent" in refusal.stderr
    assert not endpoint.generations
    done = run("generate", "rows.jsonl", "--api-key-env", "MY_KEY", MY_KEY="s3cr3t")
    assert done.returncode == 0, done.stderr


def test_config_shows_values_and_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, variable, file and default, each by name; a key is never shown."""
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text('base_url = "http://localhost:8000"\nseed = 3\n')
    words = ("config", "--config", "run.toml", "--temperature", "0.7", "--api-key-env", "MY_KEY")
    variables = {f"{PREFIX}LIMIT": "5", "MY_KEY": "s3cr3t"}
    shown = run(*words, **variables).stdout
    for line in (
        "base_url http://localhost:8000 base_url in run.toml",
        "temperature 0.7 --temperature",
        f"limit 5 {PREFIX}LIMIT",
        "max_new_tokens 128",
        "Key: the value of MY_KEY, sent to the target.",
    ):
        assert line in " ".join(shown.split())
    assert "s3cr3t" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    found = json.loads(run(*words, "--json", **variables).stdout)
    assert found["seed"] == {"value": 3, "from": "seed in run.toml"}
    assert found["timeout"]["from"] == "default"


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("prompts.jsonl", "prompts.answers.jsonl"),
        ("data/prompts.csv.gz", "prompts.answers.csv"),
        ("notes.txt", "notes.answers.jsonl"),
        ("OWNER/NAME", "NAME.answers.jsonl"),
        ("hf://datasets/OWNER/NAME:train[:10]", "dataset.answers.jsonl"),
        ("data/*.jsonl", "dataset.answers.jsonl"),
        ("table.feather", "table.answers.feather"),
        ("table.parquet", "table.answers.parquet"),
    ],
)
def test_an_output_without_a_name_is_called_after_the_input(name: str, output: str) -> None:
    """In this folder, in the input's format if that can be written."""
    assert default_output(name) == Path(output)


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
