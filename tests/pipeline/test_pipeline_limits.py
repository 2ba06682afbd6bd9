"""What upstream cannot do today, whoever answers: what docs/coming-from-distilabel.md says of it.

The LLM here is neither ours nor upstream's for endpoints. If one of these fails, upstream has
changed, and the page has to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipeline_runs import instructions, new, run
from pyarrow.lib import ArrowInvalid

from distilabel.models import LLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import EvolInstruct, StructuredGeneration, UltraFeedback


class Echo(LLM):
    """Answers everything, or all but what holds a word."""

    fails_at: str = "nothing"
    structured_output: Any = None

    @property
    def model_name(self) -> str:
        return "echo"

    def generate(self, inputs: Any, num_generations: int = 1) -> list[dict[str, Any]]:
        texts = [None if self.fails_at in str(one) else "answer" for one in inputs]
        counts = {"input_tokens": [1], "output_tokens": [1]}
        return [{"generations": [text], "statistics": counts} for text in texts]


def test_rows_of_a_step_are_not_saved(tmp_path: Path) -> None:
    """A pipeline loaded from a file has no rows, and cannot be checked without."""
    with new(tmp_path) as pipeline:
        instructions(2) >> EvolInstruct(llm=Echo(), num_evolutions=1)
    pipeline.save(tmp_path / "saved.yaml", format="yaml")
    with pytest.raises(IndexError):
        run(Pipeline.from_yaml(tmp_path / "saved.yaml"), use_cache=False)


def test_evolutions_with_answers() -> None:
    """`EvolInstruct` with answers and several evolutions, of which only the last is kept."""
    task = EvolInstruct(llm=Echo(), num_evolutions=2, generate_answers=True)
    task.load()
    with pytest.raises(IndexError):
        list(task.process([{"instruction": "one"}, {"instruction": "two"}]))


def test_one_row_without_an_answer_costs_the_batch() -> None:
    """`EvolInstruct` takes an answer's text to pieces without looking whether there is one."""
    task = EvolInstruct(llm=Echo(fails_at="two"), num_evolutions=1)
    task.load()
    with pytest.raises(AttributeError, match="NoneType"):
        list(task.process([{"instruction": "one"}, {"instruction": "two"}]))


def test_structured_generation_cannot_be_written(tmp_path: Path) -> None:
    """With any other LLM, its metadata holds a tuple; with ours, the messages."""
    row = {"instruction": "say", "structured_output": {"format": "json", "schema": "{}"}}
    with new(tmp_path) as pipeline:
        LoadDataFromDicts(data=[row]) >> StructuredGeneration(llm=Echo())
    with pytest.raises(ArrowInvalid):
        run(pipeline, use_cache=False)


def test_a_task_asks_for_a_package() -> None:
    """With any other LLM, a task's own schema needs `outlines` to be installed."""
    task = UltraFeedback(llm=Echo(), use_default_structured_output=True)
    with pytest.raises(ImportError, match="outlines"):
        task.load()
