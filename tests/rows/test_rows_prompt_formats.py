"""Prompts as people have them: ShareGPT, Alpaca, JSON text, training data, batch files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distilabel_endpoints.errors import ConfigurationError, ConversationError
from distilabel_endpoints.rows import ConversationSpec, PreparedRow, Row, open_rows

HI = [{"role": "user", "content": "hi"}]
DONE = [*HI, {"role": "assistant", "content": "hello"}]
SHAREGPT = [
    {"from": "system", "value": "be brief"},
    {"from": "human", "value": "hi"},
    {"from": "gpt", "value": "hello"},
    {"from": "human", "value": "why?"},
]
TALK = [
    {"role": "system", "content": "be brief"},
    *DONE,
    {"role": "user", "content": "why?"},
]


def prepare(columns: dict[str, Any], **spec: Any) -> PreparedRow:
    """What a row of these columns asks for."""
    row = next(iter(open_rows([columns])))
    assert isinstance(row, Row)
    return ConversationSpec(**spec).bind(columns).prepare(row)


@pytest.mark.parametrize(
    ("columns", "messages", "description"),
    [
        ({"conversations": SHAREGPT}, TALK, "read as ShareGPT: conversations"),
        ({"conversation": SHAREGPT}, TALK, "read as ShareGPT: conversation"),
        ({"conversations": json.dumps(SHAREGPT)}, TALK, "read as ShareGPT: conversations"),
        ({"conversations": TALK}, TALK, "read as ShareGPT: conversations"),
        ({"messages": SHAREGPT}, TALK, None),
        ({"messages": json.dumps(HI)}, HI, None),
        ({"prompt": json.dumps(HI)}, HI, None),
        ({"prompt": "[{not json"}, [{"role": "user", "content": "[{not json"}], None),
        ({"prompt": '[{"a": 1}]'}, [{"role": "user", "content": '[{"a": 1}]'}], None),
        ({"instruction": "hi", "output": "x"}, HI, None),
        (
            {"instruction": "Sum up.", "input": "The cat.", "output": "x"},
            [{"role": "user", "content": "Sum up.\n\nThe cat."}],
            "read as Alpaca: instruction + input",
        ),
        ({"instruction": "hi", "input": ""}, HI, "read as Alpaca: instruction + input"),
        ({"instruction": "hi", "input": None}, HI, "read as Alpaca: instruction + input"),
        (
            {"instruction": "why?", "input": "", "history": [["hi", "hello"]]},
            TALK[1:],
            "read as Alpaca: instruction + history + input",
        ),
        (
            {"prompt": "hi", "completion": "hello"},
            HI,
            "read as prompt/completion: prompt (completion is not sent)",
        ),
        (
            {"prompt": "hi", "system": "be brief"},
            [TALK[0], *HI],
            "the system message is the column system",
        ),
        (
            {"system_prompt": "be brief", "conversations": SHAREGPT[1:]},
            TALK,
            "read as ShareGPT: conversations; the system message is the column system_prompt",
        ),
        ({"system": "no", "messages": TALK}, TALK, "the system message is the column system"),
        ({"system": None, "prompt": "hi"}, HI, "the system message is the column system"),
        (
            {"messages": HI, "tools": []},
            HI,
            "read as messages (the column tools is not sent: use --param tools=...)",
        ),
    ],
)
def test_formats_are_recognised(
    columns: dict[str, Any], messages: Any, description: str | None
) -> None:
    """Nothing of a prompt is dropped, and what was recognised is said in one line."""
    assert prepare(columns).messages == messages
    assert ConversationSpec().bind(columns).description == description


@pytest.mark.parametrize(
    ("form", "columns", "messages"),
    [
        ("sharegpt", {"conversations": SHAREGPT, "prompt": "no"}, TALK),
        ("sharegpt", {"messages": SHAREGPT}, TALK),
        ("alpaca", {"instruction": "hi", "input": " ", "prompt": "no"}, HI),
        ("messages", {"messages": HI, "prompt": "no"}, HI),
        ("prompt", {"messages": [], "prompt": "hi"}, HI),
        ("prompt", {"prompt": "[1]"}, [{"role": "user", "content": "[1]"}]),
    ],
)
def test_a_format_can_be_set(form: str, columns: dict[str, Any], messages: Any) -> None:
    """The user's word wins over what the columns look like."""
    assert prepare(columns, format=form).messages == messages


@pytest.mark.parametrize(
    ("columns", "spec", "message"),
    [
        (
            ["custom_id", "method", "url", "body"],
            {},
            "OpenAI batch file, which.*without Ray.*jq",
        ),
        (["role", "content"], {}, "each row is one message"),
        (["question", "answer"], {}, "Name --input-column question, or give a template"),
        (["prompt"], {"format": "alpaca"}, "format alpaca needs a column instruction; the columns"),
        (["prompt"], {"format": "sharegpt"}, "format sharegpt needs a column conversations"),
        (["prompt"], {"format": "prompt", "template": "{{ prompt }}"}, "not both"),
    ],
)
def test_formats_that_are_not_complete(
    columns: list[str], spec: dict[str, Any], message: str
) -> None:
    """What is missing or not supported is an error before the first row, with the way on."""
    with pytest.raises(ConfigurationError, match=message):
        ConversationSpec(**spec).bind(columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"conversations": [{"from": "observation", "value": "x"}]}, "not 'observation'"),
        ({"conversations": [{"from": None, "value": "x"}]}, "not NoneType"),
        ({"conversations": [{"from": "human", "value": 1}]}, r"conversations\[0\].value must be"),
        ({"conversations": "hi"}, "must be the JSON of a list"),
        ({"messages": "[{'role': 'user', 'content': 'hi'}]"}, "Python's form of a list, not JSON"),
        ({"instruction": "hi", "input": 7}, "column 'input' must hold text, not int"),
        ({"instruction": None, "input": "x"}, "column 'instruction' is null"),
        ({"instruction": 1, "input": "x"}, "column 'instruction' must hold text, not int"),
        ({"instruction": "a", "input": "", "history": [["x"]]}, "must hold pairs of texts"),
        ({"prompt": "hi", "system": 7}, "column 'system' must hold text, not int"),
    ],
)
def test_rows_that_do_not_keep_to_their_format(columns: dict[str, Any], message: str) -> None:
    """Each is refused by itself, with the place of what is wrong."""
    with pytest.raises(ConversationError, match=message):
        prepare(columns)


def test_conversations_that_end_with_the_assistant() -> None:
    """They are counted for a remark; on request the last messages of the assistant are left out."""
    rows = [row for row in open_rows([DONE, HI, DONE]) if isinstance(row, Row)]
    bound = ConversationSpec().bind(["messages"])
    assert [bound.prepare(row).messages for row in rows] == [DONE, HI, DONE]
    (remark,) = bound.remarks()
    assert remark.startswith("2 conversations end with the assistant; --drop-last-assistant")
    bound = ConversationSpec(drop_last_assistant=True).bind(["messages"])
    assert [bound.prepare(row).messages for row in rows] == [HI, HI, HI]
    assert bound.remarks() == []
    assert prepare({"messages": [*DONE, DONE[1]]}, drop_last_assistant=True).messages == HI
    with pytest.raises(ConversationError, match="only messages of the assistant"):
        prepare({"messages": [DONE[1]]}, drop_last_assistant=True)


def test_settings_of_rows_can_be_switched_off() -> None:
    """Columns that only have the names of settings are data, if the user says so."""
    columns = {"prompt": "hi", "system": "Linux", "parameters": "7B", "structured_output": "no"}
    with pytest.raises(ConversationError, match="pass --no-row-settings"):
        prepare({**columns, "system": None})
    assert prepare(columns, row_settings=False) == PreparedRow(HI)
