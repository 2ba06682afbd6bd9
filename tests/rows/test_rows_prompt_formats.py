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
        (
            {"conversations": [{"from": "Human", "value": "hi", "weight": 1}]},
            HI,
            "read as ShareGPT: conversations",
        ),
        (
            {"conversations": [{"role": "user", "value": "hi"}]},
            HI,
            "read as ShareGPT: conversations",
        ),
        (
            {"conversations": [{"from": "human", "content": "hi"}]},
            HI,
            "read as ShareGPT: conversations",
        ),
        ({"messages": [{**HI[0], "weight": 0}]}, HI, None),
        ({"messages": {"role": ["user"], "content": ["hi"]}}, HI, None),
        (
            {"conversations": {"from": ["human"], "value": ["hi"], "weight": [None]}},
            HI,
            "read as ShareGPT: conversations",
        ),
        ({"messages": SHAREGPT}, TALK, None),
        ({"messages": json.dumps(HI)}, HI, None),
        ({"prompt": json.dumps(HI)}, HI, None),
        ({"prompt": "[{not json"}, [{"role": "user", "content": "[{not json"}], None),
        (
            {"prompt": '[{"name": "a", "value": 1}]'},
            [{"role": "user", "content": '[{"name": "a", "value": 1}]'}],
            None,
        ),
        (
            {"prompt": '[{"from": "Rome", "to": "Oslo"}]'},
            [{"role": "user", "content": '[{"from": "Rome", "to": "Oslo"}]'}],
            None,
        ),
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
            {"instruction": "Sum up.", "context": "The cat.", "response": "x"},
            [{"role": "user", "content": "Sum up.\n\nThe cat."}],
            "read as Alpaca: instruction + context",
        ),
        ({"instruction": "", "input": "hi"}, HI, "read as Alpaca: instruction + input"),
        (
            {"instruction": "hi", "input": float("nan"), "system": float("nan")},
            HI,
            "read as Alpaca: instruction + input; the system message is the column system",
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
        ({"conversations": [{"from": "narrator", "value": "x"}]}, "not 'narrator'"),
        ({"conversations": [{"from": "observation", "value": "x"}]}, "no function_call before it"),
        ({"conversations": [{"from": "function_call", "value": "f()"}]}, "the JSON of a call"),
        ({"conversations": [{"from": None, "value": "x"}]}, "not NoneType"),
        ({"conversations": [{"from": "human", "value": 1}]}, r"conversations\[0\].value must be"),
        ({"conversations": "hi"}, "must be the JSON of a list"),
        ({"messages": "[{'role': 'user', 'content': 'hi'}]"}, "Python's form of a list, not JSON"),
        ({"instruction": "hi", "input": 7}, "column 'input' must hold text, not int"),
        ({"instruction": None, "input": "x"}, "column 'instruction' is null"),
        ({"instruction": 1, "input": "x"}, "column 'instruction' must hold text, not int"),
        ({"instruction": "a", "input": "", "history": [["x"]]}, "must hold pairs of texts"),
        ({"prompt": "hi", "system": 7}, "column 'system' must hold text, not int"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"instruction": "", "input": " "}, "the prompt is empty"),
        ({"prompt": float("nan")}, "column 'prompt' is null"),
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


def test_messages_in_the_text_of_a_prompt() -> None:
    """A prompt that is the JSON of messages is sent as these, and that is said."""
    bound = ConversationSpec().bind(["prompt"])
    for text in ("hi", json.dumps(HI)):
        (row,) = open_rows([{"prompt": text}])
        assert isinstance(row, Row)
        assert bound.prepare(row).messages == HI
    assert bound.remarks() == ["text in prompt that is the JSON of messages is sent as these"]


def test_tools_in_sharegpt() -> None:
    """A call and what the tool says become a message with `tool_calls` and one that answers it."""
    call = json.dumps({"name": "add", "arguments": {"a": 1}})
    turns = [
        {"from": "human", "value": "hi"},
        {"from": "function_call", "value": call},
        {"from": "observation", "value": "2"},
    ]
    asked, calling, answering = prepare({"conversations": turns}).messages
    assert asked == HI[0]
    (made,) = calling["tool_calls"]
    assert made["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert answering == {"role": "tool", "tool_call_id": made["id"], "content": "2"}


def test_columns_that_only_later_rows_have() -> None:
    """JSON lines need not have the same keys: what a later row brings is sent and reported."""
    rows: list[dict[str, Any]] = [
        {"instruction": "hi"},
        {"instruction": "Sum up.", "input": "The cat.", "system": "be brief"},
        {"instruction": "hi", "parameters": {"seed": 1}},
        {"instruction": "hi", "parameters": {"seed": 1}, "generation_kwargs": {"seed": 2}},
    ]
    read = [row for row in open_rows(rows) if isinstance(row, Row)]
    bound = ConversationSpec().bind(rows[0])
    first, second, third = [bound.prepare(row) for row in read[:3]]
    assert first.messages == third.messages == HI
    assert [message["content"] for message in second.messages] == [
        "be brief",
        "Sum up.\n\nThe cat.",
    ]
    assert third.parameters == {"seed": 1}
    assert bound.remarks() == [
        "read as Alpaca: instruction + input; the system message is the column system"
    ]
    with pytest.raises(ConversationError, match="both hold parameters"):
        bound.prepare(read[3])


@pytest.mark.parametrize(
    ("columns", "unsent"),
    [
        (["prompt", "context", "image", "id"], "'context', 'image'"),
        (["messages", "images", "context"], "'images'"),
        (["conversations", "tools"], "'tools'"),
    ],
)
def test_parts_of_the_question_that_are_not_sent(columns: list[str], unsent: str) -> None:
    """A column that looks like a part of the question, and is left out, is named."""
    remarks = ConversationSpec().bind(columns).remarks()
    assert any(remark.startswith(f"not sent: the columns {unsent};") for remark in remarks)


PROMPT = "rows with nothing in messages are read from prompt"


@pytest.mark.parametrize(
    ("columns", "messages", "description"),
    [
        ({"messages": None, "prompt": "hi"}, HI, PROMPT),
        ({"messages": float("nan"), "prompt": "hi"}, HI, PROMPT),
        ({"messages": "", "prompt": "hi"}, HI, PROMPT),
        ({"messages": [], "prompt": "hi"}, HI, PROMPT),
        ({"messages": None, "prompt": " ", "conversations": SHAREGPT}, TALK, "read as ShareGPT"),
        (
            {"prompt": "", "instruction": "say", "input": "hi"},
            [{"role": "user", "content": "say\n\nhi"}],
            "rows with nothing in prompt are read from instruction; read as Alpaca",
        ),
        ({"messages": HI, "prompt": None}, HI, None),
    ],
)
def test_the_next_column_is_read_if_the_first_holds_nothing(
    columns: dict[str, Any], messages: Any, description: str | None
) -> None:
    """Files that were put together have a prompt where others have messages; one line says so."""
    row = next(iter(open_rows([columns])))
    assert isinstance(row, Row)
    bound = ConversationSpec().bind(columns)
    assert bound.prepare(row).messages == messages
    assert (bound.description is None) == (description is None)
    assert (description or "") in (bound.description or "")


def test_a_column_that_later_rows_have_instead() -> None:
    """A row of JSON Lines with a prompt instead of messages, or the other way, is sent."""
    for first, second in (("messages", "prompt"), ("prompt", "messages")):
        rows = [{first: HI}, {second: HI}]
        bound = ConversationSpec().bind([first])
        prepared = [bound.prepare(row) for row in open_rows(rows) if isinstance(row, Row)]
        assert [row.messages for row in prepared] == [HI, HI]


@pytest.mark.parametrize("named", [{"input_column": "messages"}, {"format": "messages"}])
def test_a_column_that_was_named_is_read_alone(named: dict[str, Any]) -> None:
    """Who names the column or its format gets an error for a row without it."""
    with pytest.raises(ConversationError, match="column 'messages' is null"):
        prepare({"messages": None, "prompt": "hi"}, **named)


@pytest.mark.parametrize(
    "text",
    [
        "[{'role': 'user', 'content': 'hi'}]",
        "[{'content': 'hi', 'role': 'user'}\n {'content': 'hello', 'role': 'assistant'}]",
        "array([{'from': 'human', 'value': 'hi'}], dtype=object)",
    ],
)
@pytest.mark.parametrize("column", ["prompt", "instruction"])
def test_messages_that_pandas_wrote_as_python_text_are_not_sent_as_a_prompt(
    column: str, text: str
) -> None:
    """A cell of `to_csv` that holds messages is refused with both ways out, not sent as text."""
    with pytest.raises(ConversationError, match=r"Python's form of a list, not JSON.*--format"):
        prepare({column: text})
    sent = prepare({column: text}, format="prompt").messages
    assert sent == [{"role": "user", "content": text}]


@pytest.mark.parametrize("text", ["[{'a': 1}]", "Sort [{'role': 'user'}]", "['role']"])
def test_python_text_that_is_not_a_conversation_is_a_prompt(text: str) -> None:
    """Only a list of messages is taken for one: a question about Python is sent as it is."""
    assert prepare({"prompt": text}).messages == [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("speaker", "role"),
    [("bing", "assistant"), ("Bard", "assistant"), ("ai", "assistant"), ("prompter ", "user")],
)
def test_speakers_of_published_conversations_are_known(speaker: str, role: str) -> None:
    """Names of assistants and of people as collected conversations have them, in any case."""
    row = {"conversations": [{"from": speaker, "value": "a"}]}
    assert prepare(row).messages == [{"role": role, "content": "a"}]


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"Prompt": "a"}, "Name --input-column Prompt,"),
        ({" prompt ": "a", "id": 1}, "Name --input-column ' prompt ',"),
        ({"INSTRUCTION": "a", "Input": "b"}, "Name --input-column INSTRUCTION,"),
        ({"Question": "a"}, "Name --input-column Question,"),
        ({"data": [{"prompt": "a"}]}, r"inside data, take them out: jq -c '\.data\[\]'"),
        ({"items": [{"from": "human", "value": "a"}]}, "name it: --input-column items"),
        ({"chosen": HI, "rejected": HI}, "Name --input-column chosen,"),
        ({"version": "1", "rows": []}, r"inside rows, take them out: jq -c '\.rows\[\]'"),
    ],
)
def test_columns_that_are_nearly_the_input_are_named(columns: dict[str, Any], hint: str) -> None:
    """A header in capitals or with blanks, or rows inside an object: the fix is in the error."""
    with pytest.raises(ConfigurationError, match=hint):
        ConversationSpec().bind(columns)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"messages": {"role": ["user"], "content": []}}, "not dict"),
        ({"messages": HI[0]}, r"put it into a list: \[message\]"),
        ({"prompt": {"messages": HI}}, "take the messages out of it"),
        ({"prompt": {"0": "a", "1": "b"}}, r"to_json\(orient='records', lines=True\)"),
        ({"messages": [{"speaker": "user", "text": "a"}]}, "its keys are 'speaker', 'text'"),
        ({"conversations": [{"from": "human", "text": "a"}]}, "turn are 'from', 'text'"),
        ({"messages": [*HI, {"role": "function", "content": "3"}]}, "write tool_calls, tool"),
        (
            {"messages": [*HI, {"role": "assistant", "function_call": {"name": "f"}}]},
            "function_call and the role function are an old form",
        ),
    ],
)
def test_conversations_in_other_shapes_are_refused_with_the_way_out(
    columns: dict[str, Any], hint: str
) -> None:
    """What is nearly a conversation is refused by what it is and by what to write instead."""
    with pytest.raises(ConversationError, match=hint):
        prepare(columns)


def test_a_second_column_that_could_be_the_input_is_named() -> None:
    """Preference data has a prompt beside messages: which of them is sent is reported."""
    columns = {"prompt": "p", "messages": HI}
    conversations = ConversationSpec().bind(columns)
    row = next(iter(open_rows([columns])))
    assert isinstance(row, Row)
    assert conversations.prepare(row).messages == HI
    assert conversations.remarks() == ["the input is the column messages, not prompt"]
    assert ConversationSpec("messages").bind(columns).remarks() == []


def test_parts_of_the_question_are_named_in_any_letters() -> None:
    """`Input` beside an instruction that was named is a part of the question that is not sent."""
    conversations = ConversationSpec("Instruction").bind({"Instruction": "a", "Input": "b"})
    assert "not sent: the columns 'Input'" in conversations.remarks()[0]
