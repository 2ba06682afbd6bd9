"""The card of a finished run, and the push of its output to a Hub on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_uploads import REPOSITORY, UploadHub, upload_hub

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.dataset import FinishedRun
from distilabel_endpoints.errors import AccessError, ConfigurationError
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.run_state import RunEnding, RunSummary, TokenCount
from distilabel_endpoints.runs.publishing import About, dataset_card
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
CANARY = "hf_CANARYcanaryCANARY"
ROWS = [{"prompt": "Question one?"}, {"prompt": "Question two?"}]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    with upload_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", CANARY)
        yield hub


def generate(endpoint: SimulatedEndpoint, output: Path, **more: Any) -> FinishedRun:
    with InferenceEndpointsLLM(base_url=endpoint.url, api_key="sk-endpoint") as llm:
        return generate_dataset(
            llm, ROWS, output, push_to_hub=REPOSITORY, progress=open_progress("quiet"), **more
        )


def about(**changes: Any) -> About:
    summary = RunSummary(
        ending=RunEnding.FINISHED,
        exit_code=2,
        ok=1200,
        failed=3,
        answers=2400,
        run_tokens=TokenCount(input_tokens=5000, output_tokens=70000),
    )
    given: dict[str, Any] = {
        "model": "org/model",
        "target": "a dedicated Inference Endpoint",
        "num_generations": 2,
        "parameters": {"temperature": 0.5, "extra_body": {"key": CANARY}},
        "structured_output": False,
        "summary": summary,
    }
    return About(**{**given, **changes})


def test_a_card_states_what_made_the_data() -> None:
    """Model, kind of target, parameters and counts; its head names the file for the viewer."""
    card = dataset_card(about(), "data/train.jsonl")
    _, head, text = card.split("---\n", 2)
    files = yaml.safe_load(head)["configs"][0]["data_files"]
    assert files == [{"split": "train", "path": "data/train.jsonl"}]
    for row in (
        "| Model | org/model |",
        "| Served by | a dedicated Inference Endpoint |",
        "| Rows answered | 1,200 |",
        "| Rows failed | 3 |",
        "| Output tokens | 70,000 |",
        "| temperature | 0.5 |",
    ):
        assert row in text


def test_a_card_holds_no_secret_and_no_foreign_markup() -> None:
    """Not what `extra_body` holds; a server's model name stays text of one cell."""
    card = dataset_card(about(model="m | x |\n# <b>[a](b)</b>"), "data/train.jsonl")
    assert CANARY not in card
    assert "| extra_body | given |" in card
    assert r"| Model | m \| x \| # \<b\>\[a\](b)\</b\> |" in card


@pytest.mark.parametrize(
    ("name", "path"), [("o.jsonl.gz", "train.jsonl.gz"), ("o.x.csv", "train.csv")]
)
def test_a_finished_run_is_pushed(
    simulated_endpoint: Make, hub: UploadHub, tmp_path: Path, name: str, path: str
) -> None:
    """One commit of the output's bytes and the card to a private dataset, by the Hub's token."""
    endpoint = simulated_endpoint(flavor="vllm")
    output = tmp_path / name
    done = generate(endpoint, output, temperature=0.25)
    assert done.dataset_url == f"{hub.url}/datasets/{REPOSITORY}"
    assert hub.files[f"data/{path}"] == output.read_bytes()
    card = hub.files["README.md"].decode()
    assert "| Rows answered | 2 |" in card
    assert "| temperature | 0.25 |" in card
    assert "| Served by | an endpoint given by its URL |" in card
    assert not [text for text in (CANARY, "sk-endpoint", endpoint.url, "Question") if text in card]
    assert (hub.private, hub.commits) == (True, 1)
    assert hub.tokens == {f"Bearer {CANARY}"}


def test_a_refused_push_costs_no_request(
    simulated_endpoint: Make, hub: UploadHub, tmp_path: Path
) -> None:
    """The output stays and the error says so, without the token; the call again only pushes."""
    endpoint = simulated_endpoint()
    hub.refuse = 403
    output = tmp_path / "out.jsonl"
    with pytest.raises(AccessError, match="was not pushed to ann/answers") as caught:
        generate(endpoint, output)
    assert caught.value.__context__ is None
    assert CANARY not in str(caught.value)
    assert output.exists()
    hub.refuse = None
    assert generate(endpoint, output).dataset_url is not None
    assert len(endpoint.generations) == 2


def test_a_push_that_cannot_be_is_known_before_the_start(
    simulated_endpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong name, or no token to write with."""
    endpoint = simulated_endpoint()
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        monkeypatch.setattr("huggingface_hub.get_token", lambda: CANARY)
        with pytest.raises(ConfigurationError, match="OWNER/NAME"):
            generate_dataset(llm, ROWS, tmp_path / "o.jsonl", push_to_hub="a b/c/d")
        monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
        with pytest.raises(ConfigurationError, match="HF_TOKEN"):
            generate_dataset(llm, ROWS, tmp_path / "o.jsonl", push_to_hub="a/b")
    assert endpoint.generations == ()
    assert list(tmp_path.iterdir()) == []


def test_the_flag(simulated_endpoint: Make, hub: UploadHub, tmp_path: Path) -> None:
    """`--push-to-hub` and `--column-prefix`, in a process of its own; where it went is said."""
    endpoint = simulated_endpoint()
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "generation": "theirs"}\n')
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    words += ["--push-to-hub", REPOSITORY, "--column-prefix", "ai_"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "distilabel_endpoints", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"pushed to {hub.url}/datasets/{REPOSITORY}" in done.stderr
    assert CANARY not in done.stderr + done.stdout
    assert b'"ai_generation"' in hub.files["data/train.jsonl"]
