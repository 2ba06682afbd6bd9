"""OpenAI batch files for tests, and what came out of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL = "simulated-model"
CHAT = "/v1/chat/completions"


def line(number: int, *, url: str = CHAT, **changes: Any) -> dict[str, Any]:
    """Request number `number`; `changes` are fields of its body."""
    body: dict[str, Any] = {"model": MODEL, "max_tokens": 8}
    if url == CHAT:
        body["messages"] = [{"role": "user", "content": f"Question {number}?"}]
    else:
        body["prompt"] = f"Question {number}?"
    return {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body | changes}


def write_lines(path: Path, lines: list[Any]) -> Path:
    """A file with a line of JSON for each value; text is written as it is."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def read_lines(path: Path) -> dict[str, Any]:
    """The lines of an output, by their custom ids."""
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    assert len({each["custom_id"] for each in lines}) == len(lines)
    return {each["custom_id"]: each for each in lines}
