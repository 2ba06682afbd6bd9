"""A finished run's output as a dataset on the Hub: its card, and the push, in one commit.

The card says what made the data and how much of it there is. It holds no secret, no address, no
prompt, and of `extra_body`, which may hold anything, only that it was given.

The only place that writes to the Hub. The token is the saved one or `HF_TOKEN`, never an LLM's
`api_key`: that one may be for another server. The library's exceptions hold the request with the
token, so none leaves this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from distilabel_endpoints._targets.credentials import saved_token
from distilabel_endpoints.errors import ConfigurationError, RunError, run_error
from distilabel_endpoints.llms.attributes import effective_parameters
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.rows.compression import COMPRESSIONS
from distilabel_endpoints.run_state import RunSummary
from distilabel_endpoints.runs.options import RunOptions

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


def about_run(llm: InferenceEndpointsLLM, options: RunOptions, summary: RunSummary) -> About:
    """What the card of this run's output states."""
    named = next((name for name in _TARGETS if getattr(llm, name, None)), "base_url")
    return About(
        model="not named" if _is_named_by_url(llm) else llm.model_name,
        target=_TARGETS[named],
        num_generations=options.num_generations,
        parameters=effective_parameters(llm, options.parameters),
        structured_output=bool(llm.structured_output),
        summary=summary,
    )


def _is_named_by_url(llm: InferenceEndpointsLLM) -> bool:
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
    # The Hub's viewer finds a split by this name.
    path = f"data/train{_suffix(output)}"
    return _upload(repository, output, path=path, card=dataset_card(about, path))


def check_repository(name: str) -> None:
    """What can be known of `OWNER/NAME` without asking the Hub.

    Raises:
        ConfigurationError: it is not a name of a repository, or there is no token to write with.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ConfigurationError(
            f"push_to_hub: {name!r} is not the name of a repository; give OWNER/NAME."
        ) from None
    if saved_token() is None:
        raise ConfigurationError(
            "push_to_hub needs a token that may write: set HF_TOKEN, or run `hf auth login`."
        )


def _upload(name: str, file: Path, *, path: str, card: str) -> str:
    """Commit `file` as `path`, with `card` as README.md; gives back the dataset's URL.

    A repository that is not there yet is made, private.

    Raises:
        RunError: the Hub refused it, or was not to be reached. The file is as it was.
    """
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = HfApi()
    try:
        made = api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        api.create_commit(
            made.repo_id,
            [CommitOperationAdd(path, str(file)), CommitOperationAdd("README.md", card.encode())],
            commit_message=f"Write {path}",
            repo_type="dataset",
        )
    except HfHubHTTPError as error:
        reason = error.server_message or "the Hub refused it"
        failed = _failed(name, file, reason, error.response.status_code)
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        failed = _failed(name, file, type(error).__name__, None)
    else:
        return str(made.url)
    raise failed


def _failed(name: str, file: Path, reason: str, status: int | None) -> RunError:
    kind = FailureKind.RUN if status else FailureKind.UNAVAILABLE
    return run_error(
        Failure(
            kind=kind,
            message=f"{file} is written, and was not pushed to {name}: {reason}",
            status=status,
            hint="The same call or command pushes it again and sends no generation.",
        )
    )


def _shown(name: str, value: object) -> str:
    # It may hold anything, a key of the server too; a card is public.
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
