"""A finished run's output as a dataset on the Hub: its card, and the push.

The card says what made the data and how much of it there is. It holds no secret, no address, no
prompt, and of `extra_body`, which may hold anything, only that it was given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from distilabel_endpoints.llms.base import AsyncLLM
from distilabel_endpoints.rows.compression import COMPRESSIONS
from distilabel_endpoints.run_state import RunSummary
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.uploading import check_repository, upload_dataset

__all__ = ["About", "about_run", "check_repository", "dataset_card", "push_output"]

_TARGETS: Final = {
    "model_id": "Hugging Face Inference Providers",
    "endpoint_name": "a dedicated Inference Endpoint",
    "base_url": "an endpoint given by its URL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a card states."""

    model: str
    target: str
    num_generations: int
    parameters: Mapping[str, Any]
    structured_output: bool
    summary: RunSummary


def about_run(llm: AsyncLLM, options: RunOptions, summary: RunSummary) -> About:
    """What the card of this run's output states."""
    asked = llm.fingerprint(options.parameters)
    named = next((name for name in _TARGETS if getattr(llm, name, None)), "base_url")
    return About(
        model="not named" if _is_named_by_url(llm) else llm.model_name,
        target=_TARGETS[named],
        num_generations=options.num_generations,
        parameters=asked.get("parameters") or options.parameters,
        structured_output=bool(asked.get("structured_output")),
        summary=summary,
    )


def _is_named_by_url(llm: AsyncLLM) -> bool:
    urls = getattr(llm, "base_url", None) or ()
    return llm.model_name == (urls if isinstance(urls, str) else ", ".join(urls))


def dataset_card(about: About, path: str) -> str:
    """The text of README.md for a dataset whose rows are in `path`. Same run, same text."""
    files = [{"split": "train", "path": path}]
    head = {
        "tags": ["synthetic", "distilabel-endpoints"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    summary = about.summary
    tokens = summary.run_tokens
    facts = {
        "Model": about.model,
        "Served by": about.target,
        "Generations per row": about.num_generations,
        "Structured output": "yes" if about.structured_output else "no",
        "Rows answered": f"{summary.ok:,}",
        "Rows failed": f"{summary.failed:,}",
        "Rows left out": f"{summary.skipped:,}",
        "Answers": f"{summary.answers:,}",
        "Answers cut off at max_new_tokens": f"{summary.truncated:,}",
        "Input tokens": f"{tokens.input_tokens:,}",
        "Output tokens": f"{tokens.output_tokens:,}",
    }
    parameters = {name: _shown(name, value) for name, value in about.parameters.items()}
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
            "# Completions of a dataset",
            "",
            "Made with `distilabel-endpoints`. A failed row has a null generation and an `error`.",
            "",
            _table("", "", facts),
            "",
            "## Parameters",
            "",
            _table("name", "value", parameters) if parameters else "The defaults.",
            "",
        ]
    )


def push_output(repository: str, output: Path, about: About) -> str:
    """Put `output` and its card into the dataset `repository`; gives back its URL.

    Raises:
        RunError: the Hub refused it, or was not to be reached.
    """
    path = f"data/train{_suffix(output)}"
    return upload_dataset(repository, output, path=path, card=dataset_card(about, path))


def _shown(name: str, value: object) -> str:
    if name == "extra_body":
        return "given"
    return json.dumps(value, ensure_ascii=False, default=str)


def _table(left: str, right: str, entries: Mapping[str, Any]) -> str:
    rows = [f"| {left} | {right} |", "|---|---|"]
    rows += [f"| {_cell(name)} | {_cell(value)} |" for name, value in entries.items()]
    return "\n".join(rows)


def _cell(value: object) -> str:
    """One line of plain text: a server's name for its model must not become markup."""
    text = " ".join(str(value).split())
    for mark in "\\`|<>[]*":
        text = text.replace(mark, f"\\{mark}")
    return text


def _suffix(output: Path) -> str:
    last = output.suffix.lower()
    return output.with_suffix("").suffix.lower() + last if last in COMPRESSIONS else last
