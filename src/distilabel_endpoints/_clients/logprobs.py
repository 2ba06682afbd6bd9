"""Log probabilities in one form, whichever server gave them: that of OpenAI's chat API."""

from __future__ import annotations

from typing import Any

from distilabel_endpoints._clients.fields import Json, at, objects, plain

__all__ = ["chat_logprobs", "of_text", "tgi_logprobs"]


def of_text(logprobs: Any, finish_reason: str | None) -> Any:
    """Without the token that ended it: llama.cpp lists that one only where it does not stream."""
    last = logprobs[-1] if logprobs and finish_reason == "stop" else None
    if isinstance(last, dict) and last.get("token") == "" and not last.get("bytes"):
        return logprobs[:-1]
    return logprobs


def chat_logprobs(logprobs: Any) -> list[Any] | None:
    """One entry per token, in the form of OpenAI's chat API, which wraps them in an object."""
    if isinstance(logprobs, dict):
        listed = logprobs.get("content")
        logprobs = listed if listed is not None else _zipped_logprobs(logprobs)
    return plain(logprobs) if isinstance(logprobs, list) else None


def _zipped_logprobs(columns: Json) -> list[Any] | None:
    """The completions API's form, lists that run side by side, as one list."""
    tokens = columns.get("tokens")
    if not isinstance(tokens, list):
        return None
    values, tops = columns.get("token_logprobs"), columns.get("top_logprobs")
    return [
        {
            "token": token,
            "logprob": at(values, place),
            "top_logprobs": _ranked(at(tops, place)),
        }
        for place, token in enumerate(tokens)
    ]


def _ranked(top: Any) -> list[Json] | None:
    if not isinstance(top, dict) or not top:
        return None
    return [{"token": token, "logprob": value} for token, value in top.items()]


def tgi_logprobs(tokens: Any, tops: Any) -> list[Any] | None:
    """TGI's tokens in the same form. Its special tokens are no part of the text."""
    if not isinstance(tokens, list):
        return None
    return [
        plain(
            {
                **_tgi_token(token),
                "top_logprobs": [_tgi_token(top) for top in objects(at(tops, place))] or None,
            }
        )
        for place, token in enumerate(tokens)
        if isinstance(token, dict) and token.get("special") is not True
    ]


def _tgi_token(token: Json) -> Json:
    return {"token": token.get("text"), "logprob": token.get("logprob")}
