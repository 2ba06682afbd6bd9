"""The output of an OpenAI batch file: `id`, `custom_id`, `response`, `error`; failures in a file
beside it.

A response's body is the server's answer as it is kept: what a chat completion or a completion has
in OpenAI's reference. Ids are made of the line's content and `created` is 0, so that the same lines
and answers give the same bytes, however often the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.records import Completion, Failure, Result
from distilabel_endpoints.rows.batch_lines import COMPLETIONS
from distilabel_endpoints.rows.columns import OutputColumns, failure_code
from distilabel_endpoints.rows.folders import format_of
from distilabel_endpoints.rows.json_text import json_line
from distilabel_endpoints.rows.model import BadRow, Row
from distilabel_endpoints.rows.writers import ResultWriter

__all__ = ["BatchWriter", "check_batch_output", "errors_beside"]

_LINES: Final = (".jsonl", ".ndjson")


def errors_beside(output: Path) -> Path:
    """Where failures go by default: `answers.errors.jsonl` for `answers.jsonl`."""
    suffix, compression = format_of(output) or ("", "")
    return output.with_name(f"{output.name.removesuffix(suffix + compression)}.errors.jsonl")


def check_batch_output(suffix: str, output: Path, errors: Path) -> None:
    """Check the names of both files.

    Raises:
        ConfigurationError: they are not JSON Lines, or one file.
    """
    if suffix not in _LINES:
        raise ConfigurationError(
            f"the output of a batch file is JSON Lines: give {output.with_suffix('.jsonl')}"
        )
    if errors.suffix.lower() not in _LINES:
        raise ConfigurationError(f"the error file {errors} must end in .jsonl")
    if errors.resolve() == output.resolve():
        raise ConfigurationError(f"{output} is the output and the error file; give two files")


class BatchWriter(ResultWriter):
    """Answered lines to one file, the others to another; both in the order of the input."""

    def __init__(self, file: Any, errors: Any, columns: OutputColumns) -> None:
        self._file = file
        self._errors = errors
        self._model = columns.model_name

    def write(self, row: Row | BadRow, result: Result) -> None:
        file = self._errors if any(result.failures) else self._file
        file.write(json_line(_line(row, result, self._model)) + b"\n")

    def close(self) -> None:
        """Nothing is held back."""

    discard = close


def _line(row: Row | BadRow, result: Result, model: str) -> dict[str, Any]:
    name = row.content_hash.hex()
    failure = next(filter(None, result.failures), None)
    return {
        "id": f"batch_req_{name}",
        "custom_id": row.columns.get("custom_id"),
        "response": _response(row, result, failure, name, model),
        "error": failure and {"code": failure_code(failure), "message": failure.describe()},
    }


def _response(
    row: Row | BadRow, result: Result, failure: Failure | None, name: str, model: str
) -> dict[str, Any] | None:
    """What the server sent; None if nothing came, or nothing that tells."""
    if failure is None or any(ending and ending.text for ending in result.endings):
        body = _body(row.columns.get("url") == COMPLETIONS, result, name, model)
        return {"status_code": 200, "request_id": f"req_{name}", "body": body}
    if failure.status is None:
        return None
    error = {"message": failure.message, "type": str(failure.kind), "code": failure_code(failure)}
    return {
        "status_code": failure.status,
        "request_id": failure.request_id or f"req_{name}",
        "body": {"error": error},
    }


def _body(is_text: bool, result: Result, name: str, model: str) -> dict[str, Any]:
    choice = _text_choice if is_text else _chat_choice
    return {
        "id": f"{'cmpl' if is_text else 'chatcmpl'}-{name}",
        "object": "text_completion" if is_text else "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {"index": index, **choice(ending), "finish_reason": ending.finish_reason}
            for index, ending in enumerate(result.endings)
            if ending is not None
        ],
        "usage": _usage(result),
    }


def _chat_choice(ending: Completion | Failure) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ending.text, "refusal": None}
    if ending.reasoning:
        message["reasoning"] = ending.reasoning
    if isinstance(ending, Failure):
        return {"message": message, "logprobs": None}
    if ending.tool_calls is not None:
        message["tool_calls"] = [dict(call) for call in ending.tool_calls]
    return {
        "message": message,
        "logprobs": None if ending.logprobs is None else {"content": ending.logprobs},
    }


def _text_choice(ending: Completion | Failure) -> dict[str, Any]:
    logprobs = None if isinstance(ending, Failure) else ending.logprobs
    return {"text": ending.text or "", "logprobs": logprobs and _columns_of(logprobs)}


def _columns_of(entries: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Log probabilities as the completions API has them: lists side by side."""
    tokens = [str(entry.get("token", "")) for entry in entries]
    offsets = [0]
    for token in tokens:
        offsets.append(offsets[-1] + len(token))
    return {
        "tokens": tokens,
        "token_logprobs": [entry.get("logprob") for entry in entries],
        "top_logprobs": [
            {str(top.get("token")): top.get("logprob") for top in entry.get("top_logprobs") or ()}
            for entry in entries
        ],
        "text_offset": offsets[:-1],
    }


def _usage(result: Result) -> dict[str, Any] | None:
    read = [usage.input_tokens for usage in result.usages if usage.input_tokens is not None]
    made = [usage.output_tokens for usage in result.usages if usage.output_tokens is not None]
    if not read and not made:
        return None
    thought = [usage.reasoning_tokens for usage in result.usages if usage.reasoning_tokens]
    details = {"completion_tokens_details": {"reasoning_tokens": sum(thought)}} if thought else {}
    return {
        "prompt_tokens": sum(read),
        "completion_tokens": sum(made),
        "total_tokens": sum(read) + sum(made),
        **details,
    }
