"""Why a generation ended: one name of ours for each that servers have.

A name that is in no table is known by the words in it; if there are none, it stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["finish_reason", "is_broken_off"]

_NAMES: Final[Mapping[str | None, str]] = {
    "stop": (
        "stop eos eos_token stop_sequence stop_sequence_reached stop_token stop_criteria_met"
        " end_turn end_of_turn end_of_text endoftext complete completed finish finished normal"
    ),
    "length": (
        "length max_tokens max_length max_len max_new_tokens max_output_tokens maximum_tokens"
        " max_completion_tokens max_tokens_reached model_length token_limit limit length_limit"
        " max_context context_window_exceeded"
        " model_context_window_exceeded context_length context_length_exceeded"
    ),
    "content_filter": (
        "content_filter content_filtered content_moderation moderation safety recitation blocklist"
        " blocked prohibited_content spii language sensitive guardrail_intervened guardrails"
        " refusal error_toxic model_armor image_safety image_prohibited_content image_recitation"
    ),
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls",
    "repetition": "repetition repetition_detected repetition_truncation",
    # Sent with every piece of a stream by servers that have no null.
    None: "null none not_finished in_progress unspecified",
}
"""Our finish reasons, and what servers call them: OpenAI, Azure, Anthropic, Gemini, Cohere,
Mistral, Zhipu, Baidu, xAI, Bedrock, watsonx, Together, TGI, vLLM, llama.cpp."""
_REASONS: Final = {name: ours for ours, names in _NAMES.items() for name in names.split()}
_BROKEN: Final = frozenset(
    {
        "function_call_filter",
        "missing_thought_signature",
        "time_limit",
        "too_many_tool_calls",
        "unexpected_tool_call",
    }
)
_BROKEN_WORDS: Final = re.compile(
    "error|fail|abort|cancel|time_?out|timed_out|interrupt|exception|unavailable|overload|preempt"
    "|malformed|crash|insufficient"
)
"""Names, and words in names, of a generation that did not come to its end, such as DeepSeek's
`insufficient_system_resource`: half a text is not an answer."""
_WORDS: Final = {
    "content_filter": re.compile(
        "filter|safety|moderat|sensitive|prohibit|policy|guardrail|unsafe|harm|toxic|censor"
    ),
    "length": re.compile(
        "max_?(?:new_|output_)?(?:token|len|context)|token_(?:limit|budget)|length"
        "|context_(?:len|window|limit|exceed)"
    ),
}
"""What a name that is in no table speaks of."""
_HUMP: Final = re.compile("(?<=[a-z])(?=[A-Z])")


def finish_reason(value: Any) -> str | None:
    """Our name for a server's finish reason; an unknown one stays as it is."""
    if isinstance(value, dict):
        value = value.get("type")
    if not isinstance(value, str) or not value:
        return None
    # Gemini's "content_filter: SAFETY", Vertex' "FINISH_REASON_STOP", xAI's "REASON_MAX_LEN", and
    # Python's names of enumerations: "FinishReason.SAFETY".
    name = _HUMP.sub("_", value.partition(":")[0].strip())
    name = name.lower().replace("-", "_").replace(" ", "_")
    name = name.rpartition(".")[2].removeprefix("finish_").removeprefix("reason_")
    if name in _REASONS:
        return _REASONS[name]
    if is_broken_off(name):
        return name
    return next((ours for ours, words in _WORDS.items() if words.search(name)), value)


def is_broken_off(reason: str | None) -> bool:
    """Whether the server did not bring the generation to its end."""
    if reason is None or reason in _NAMES:
        return False
    return reason in _BROKEN or _BROKEN_WORDS.search(reason) is not None
