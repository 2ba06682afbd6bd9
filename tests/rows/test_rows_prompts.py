"""Rows to conversations: the input column, system message, own parameters."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa
import pytest

from distilabel_endpoints.errors import ConfigurationError, ConversationError
from distilabel_endpoints.rows import ConversationSpec, PreparedRow, Row, open_rows

HI = [{"role": "user", "content": "hi"}]


def prepare(columns: dict[str, Any], spec: ConversationSpec | None = None) -> PreparedRow:
    """What a row of these columns asks for."""
    row = next(iter(open_rows([columns])))
    assert isinstance(row, Row)
    return (spec or ConversationSpec()).bind(columns).prepare(row)


@pytest.mark.parametrize(
    "columns",
    [
        {"messages": HI, "prompt": "no"},
        {"messages": json.dumps(HI)},
        {"prompt": "hi", "instruction": "no"},
        {"instruction": "hi", "other": 1},
        {"prompt": HI},
    ],
)
def test_default_input_column(columns: dict[str, Any]) -> None:
    """`messages`, else `prompt`, else `instruction`; text is what the user says."""
    assert prepare(columns).messages == HI


def test_messages_are_passed_on_as_they_are() -> None:
    """A valid conversation is the row's own object."""
    assert prepare({"messages": HI}).messages is HI


def test_named_column() -> None:
    """A named column wins over the defaults."""
    spec = ConversationSpec("question")
    assert prepare({"messages": [], "question": "hi"}, spec).messages == HI


@pytest.mark.parametrize(
    ("columns", "spec", "message"),
    [
        (["text", "id"], ConversationSpec(), "no column messages, prompt, instruction, conv"),
        (["text", "id"], ConversationSpec(), "'text', 'id'"),
        (["prompt"], ConversationSpec("question"), "no column question; the columns are 'prompt'"),
        (["prompt"], ConversationSpec("prompt", template="x"), "not both"),
        (["prompt"], ConversationSpec(template="{% if %}"), "template, line 1"),
        (["prompt", "parameters", "generation_kwargs"], ConversationSpec(), "all hold parameters"),
    ],
)
def test_what_cannot_be_bound(columns: list[str], spec: ConversationSpec, message: str) -> None:
    """What is wrong for every row is an error before the first."""
    with pytest.raises(ConfigurationError, match=message):
        spec.bind(columns)


def test_no_rows_are_no_error() -> None:
    """An input without rows has no columns, and needs none."""
    ConversationSpec().bind(())
    ConversationSpec("question").bind(())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": None}, "column 'prompt' is null"),
        ({"prompt": 7}, "column 'prompt' must hold text or a list of messages, not int"),
        ({"messages": "hello"}, "must be the JSON of a list"),
        ({"messages": '{"role": "user"}'}, "must be the JSON of a list"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "human", "content": "x"}]}, r"messages\[0\].role"),
        ({"prompt": "x", "parameters": "no json"}, "column 'parameters' must hold a mapping"),
        ({"prompt": "x", "parameters": [1]}, "column 'parameters' must hold a mapping"),
        ({"prompt": "x", "structured_output": 3}, "column 'structured_output' must hold"),
    ],
)
def test_rows_without_a_conversation(columns: dict[str, Any], message: str) -> None:
    """What is wrong with one row is an error about that row."""
    with pytest.raises(ConversationError, match=message):
        prepare(columns)


def test_row_without_the_column() -> None:
    """A later row that lacks the input column says so."""
    rows = [row for row in open_rows([{"prompt": "a"}, {"text": "b"}]) if isinstance(row, Row)]
    with pytest.raises(ConversationError, match="the row has no column 'prompt'"):
        ConversationSpec().bind(["prompt"]).prepare(rows[1])


def test_system_message() -> None:
    """It goes first, unless the conversation has one of its own; the row is not changed."""
    spec = ConversationSpec(system="be brief")
    system = {"role": "system", "content": "be brief"}
    given = list(HI)
    assert prepare({"messages": given}, spec).messages == [system, *HI]
    assert given == HI
    assert prepare({"prompt": "hi"}, spec).messages == [system, *HI]
    for role in ("system", "developer"):
        own = [{"role": role, "content": "mine"}, *HI]
        assert prepare({"messages": own}, spec).messages is own


def test_a_system_message_that_cannot_be_sent() -> None:
    """One that UTF-8 cannot encode is the row's failure, named before anything is sent."""
    with pytest.raises(ConversationError, match=r"messages\[0\]\.content holds a lone surrogate"):
        prepare({"prompt": "hi"}, ConversationSpec(system="be \udc80"))


@pytest.mark.parametrize("value", [{"seed": 0}, '{"seed": 0}'])
@pytest.mark.parametrize("column", ["parameters", "generation_kwargs"])
def test_own_parameters(column: str, value: Any) -> None:
    """A row's parameters are a mapping or its JSON."""
    assert prepare({"prompt": "x", column: value}).parameters == {"seed": 0}
    assert prepare({"prompt": "x", "structured_output": value}).structured_output == {"seed": 0}


@pytest.mark.parametrize("value", [None, ""])
def test_no_own_parameters(value: Any) -> None:
    """Null, and the empty field of a CSV file, mean none."""
    prepared = prepare({"prompt": "x", "parameters": value, "structured_output": value})
    assert prepared.parameters is None
    assert prepared.structured_output is None


def test_columns_for_parameters_can_be_chosen() -> None:
    """A column of that name that means something else is left alone on request."""
    spec = ConversationSpec(row_settings=False)
    prepared = prepare({"prompt": "x", "parameters": 7_000_000_000, "structured_output": 1}, spec)
    assert prepared == PreparedRow([{"role": "user", "content": "x"}])


def test_arrow_nulls_are_no_keys() -> None:
    """Keys that an Arrow struct has only for other rows' sake are not sent; null content is."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    first = [{"role": "user", "content": "hi"}]
    second = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4", "tool_call_id": "1"},
    ]
    table = pa.Table.from_pylist(
        [
            {"messages": first, "parameters": {"seed": 1, "stop": None}},
            {"messages": second, "parameters": {"stop": ["x"]}},
        ]
    )
    source = open_rows(table)
    conversations = ConversationSpec().bind(source.columns)
    prepared = [conversations.prepare(row) for row in source if isinstance(row, Row)]
    assert [row.messages for row in prepared] == [first, second]
    assert [row.parameters for row in prepared] == [{"seed": 1}, {"stop": ["x"]}]


def test_template_takes_all_columns() -> None:
    """A template's text is what the user says; the system message goes before it."""
    spec = ConversationSpec(system="s", template="{{ a }} and {{ row['b c'] }}")
    assert prepare({"a": 1, "b c": "two"}, spec).messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "1 and two"},
    ]


@pytest.mark.parametrize(
    ("template", "is_sent"),
    [
        ("{{ a }}", True),
        ("{{ row['a'] }} {{ row.a }}", True),
        ("{{ a }} {{ system }}", False),
        ("{{ row.system }}", False),
        ("{% for name in row %}{{ row[name] }}{% endfor %}", False),
    ],
)
def test_a_template_leaves_the_system_column_to_the_system_message(
    template: str, is_sent: bool
) -> None:
    """A row's own system message is sent beside a template, unless the template has it already."""
    row = {"a": "hi", "system": "be brief"}
    messages = prepare(row, ConversationSpec(template=template)).messages
    assert [message["role"] for message in messages] == ["system"] * is_sent + ["user"]
    off = ConversationSpec(template=template, row_settings=False)
    assert [message["role"] for message in prepare(row, off).messages] == ["user"]


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_conversation_that_asks_nothing_is_refused(text: str) -> None:
    """A blank last message of the user is refused as an empty prompt is; earlier ones are sent."""
    blank = {"role": "user", "content": text}
    with pytest.raises(ConversationError, match=r"messages\[1\]\.content is empty"):
        prepare({"messages": [{"role": "system", "content": "s"}, blank]})
    earlier = [blank, {"role": "assistant", "content": "hi"}, *HI]
    assert prepare({"messages": earlier}).messages == earlier


def test_system_messages_that_are_not_sent_are_counted() -> None:
    """A conversation's own system message wins over the column and the flag: a remark says so."""
    own = [{"role": "system", "content": "mine"}, *HI]
    for columns, spec, source in (
        ({"messages": own, "system": "other"}, ConversationSpec(), "the column system"),
        ({"messages": own}, ConversationSpec(system="other"), r"--system \(system=...\)"),
        ({"messages": own, "system": "mine"}, ConversationSpec(), None),
    ):
        conversations = spec.bind(columns)
        row = next(iter(open_rows([columns])))
        assert isinstance(row, Row)
        assert conversations.prepare(row).messages == own
        remarks = " ".join(conversations.remarks())
        expected = f"1 conversation has its own system message, which is sent instead of {source}"
        assert bool(re.search(expected, remarks)) == (source is not None)


def test_prompts_stay_out_of_reprs() -> None:
    """What is sent is not shown."""
    assert "canary" not in repr(prepare({"prompt": "canary", "parameters": {"stop": "canary"}}))
