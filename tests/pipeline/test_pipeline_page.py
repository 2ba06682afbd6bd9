"""docs/coming-from-distilabel.md: its blocks run as they stand, with a Hub of this machine."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_runs import TOKEN, llm_of, new, rows_of, spoken

from distilabel.steps import LoadDataFromFileSystem
from distilabel.steps.tasks import TextGeneration
from distilabel_endpoints.testing import HubModel, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-distilabel.md"
BLOCKS = re.findall(r"(?ms)^```(\w*)\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
IMPORTS = [text for kind, text in BLOCKS if kind == "python" and "Pipeline" not in text]
PIPELINES = [text for kind, text in BLOCKS if kind == "python" and "Pipeline" in text]
COMMANDS = [
    line for kind, text in BLOCKS if not kind for line in text.splitlines() if ".pipeline" in line
]
MODEL = "meta-llama/Llama-3.3-70B-Instruct"
CARD = """---
dataset_info:
  features:
  - name: instruction
    dtype: string
  splits:
  - name: train
    num_examples: 20
---
"""
"""What `push_to_hub` writes; upstream reads the number of rows there."""


@pytest.mark.parametrize("block", IMPORTS)
def test_each_way_to_import_gives_our_class(block: str) -> None:
    """In a fresh interpreter: the class that the block names is ours."""
    program = f"{block}\nprint(InferenceEndpointsLLM.__module__)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.split()[-1:] == ["distilabel_endpoints.pipeline"], done.stderr[-2000:]


def test_the_pages_pipeline_answers_each_row(
    simulated_hugging_face: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set by its name, a model by its name, the parameters of the page."""
    hub = simulated_hugging_face(models=(HubModel(MODEL, providers=("together",)),))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("DISTILABEL_CACHE_DIR", str(tmp_path / "cache"))
    Path("my/prompts").mkdir(parents=True)
    rows = [json.dumps({"instruction": f"say {number}"}) for number in range(20)]
    Path("my/prompts/train.jsonl").write_text("\n".join(rows))
    Path("my/prompts/README.md").write_text(CARD)
    (block,) = PIPELINES
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, PAGE.name, "exec"), names)
    answered = rows_of(names["distiset"])
    assert len(answered) == 20
    assert all(row["generation"] for row in answered)
    bodies = [record.body for record in hub.generations]
    assert {(body["temperature"], body["max_tokens"]) for body in bodies} == {(0.7, 512)}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs_a_program_with_our_class(
    command: str, simulated_endpoint: Make, tmp_path: Path
) -> None:
    """A script that names upstream's class, and a saved pipeline: the endpoint answers each row."""
    endpoint = simulated_endpoint(flavor="tgi")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "say 0"}\n{"instruction": "say 1"}\n')
    with new(tmp_path) as pipeline:
        load = LoadDataFromFileSystem(data_files=str(rows), num_examples=2)
        load >> TextGeneration(name="answer", llm=llm_of(endpoint))
    pipeline.save(tmp_path / "pipeline.yaml", format="yaml")
    (tmp_path / "my_program.py").write_text(
        "import sys\n"
        "from distilabel.models import InferenceEndpointsLLM\n"
        "assert sys.argv[1:] == ['--its', '--arguments']\n"
        f"llm = InferenceEndpointsLLM(base_url={endpoint.url!r})\n"
        "llm.load()\n"
        "llm.generate(inputs=[[{'role': 'user', 'content': 'say 0'}]])\n"
    )
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert spoken(endpoint)
