"""The columns we add to the input's, and the values they hold for a result.

| column | one generation | several (`num_generations` > 1) |
|---|---|---|
| `generation` / `generations` | text or null | list of text or null |
| `model_name` | text | text |
| `finish_reason`, `reasoning`, `tool_calls`, `logprobs` | one or null | list, one entry each |
| `input_tokens`, `output_tokens` | what the row cost, or null | the same, summed |
| `provider` | with several providers: who answered | list, one entry each |
| `reasoning_tokens` | with `reasoning`: those of the output that were thinking | the same, summed |
| `label`, `confidence`, `distribution` | with `labels`: the likeliest, how likely, all | - |
| `error`, `error_code` | text or null | null, or a list with text if a generation failed |
| `failed_generation` | text or null | the same: the text of an answer that was refused |

`error_code` is stable and null for every row that did not fail; `error` is for people. Beside a
generation `error` begins with `warning`: its text is there, and is not all it should be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import zip_longest
from typing import Any, Final, Literal

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.records import Completion, Failure, Result, Usage
from distilabel_endpoints.rows.json_text import json_text, quoted, valid_text

__all__ = ["WARNING", "ColumnKind", "OutputColumn", "OutputColumns", "cell_text", "failure_code"]

WARNING: Final = "warning"
"""What an `error` begins with that stands beside its generation: the row did not fail."""


class ColumnKind(StrEnum):
    """What one entry of a column is."""

    TEXT = "text"
    COUNT = "count"
    SHARE = "share"
    """A number from 0 to 1."""
    JSON = "json"
    """Nested values, written as text of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputColumn:
    """One column of ours."""

    name: str
    kind: ColumnKind = ColumnKind.TEXT
    many: bool = False
    """A list, with one entry for each generation."""
    optional: bool = False
    """Null in most rows; JSON Lines has empty text there, so that the column keeps one type."""


@dataclass(frozen=True)
class OutputColumns:
    """Which columns a run adds. `prefix` goes before each name."""

    model_name: str
    num_generations: int = 1
    _: KW_ONLY
    prefix: str = ""
    tool_calls: bool = False
    logprobs: bool = False
    reasoning_tokens: bool = False
    labels: bool = False
    provider: bool = False
    escape_formulas: bool = False
    """CSV: put an apostrophe before each cell that a spreadsheet would run as a formula."""
    layout: Literal["columns", "openai-batch"] = "columns"
    """The input's columns and ours, or the lines of a batch file's output, which has no columns."""
    error_file: str | None = None
    """For a batch file: where its failed lines go."""

    def __iter__(self) -> Iterator[OutputColumn]:
        if self.layout == "openai-batch":
            return
        many = self.num_generations > 1
        count = ColumnKind.COUNT
        name = self._name
        yield OutputColumn(name=name("generations" if many else "generation"), many=many)
        if self.labels:
            yield OutputColumn(name=name("label"))
            yield OutputColumn(name=name("confidence"), kind=ColumnKind.SHARE)
            yield OutputColumn(name=name("distribution"), kind=ColumnKind.JSON, optional=True)
        yield OutputColumn(name=name("model_name"))
        if self.provider:
            yield OutputColumn(name=name("provider"), many=many, optional=True)
        yield OutputColumn(name=name("finish_reason"), many=many)
        yield OutputColumn(name=name("input_tokens"), kind=count)
        yield OutputColumn(name=name("output_tokens"), kind=count)
        if self.reasoning_tokens:
            yield OutputColumn(name=name("reasoning_tokens"), kind=count)
        for optional in ("error", "error_code", "reasoning", "failed_generation"):
            yield OutputColumn(name=name(optional), many=many, optional=True)
        for nested, wanted in (("tool_calls", self.tool_calls), ("logprobs", self.logprobs)):
            if wanted:
                kind = ColumnKind.JSON
                yield OutputColumn(name=name(nested), kind=kind, many=many, optional=True)

    def _name(self, name: str) -> str:
        return self.prefix + name

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names, in output order: what `open_rows` takes as `reserved`."""
        return tuple(column.name for column in self)

    def refuse_clash(self, columns: Iterable[str]) -> None:
        """Check the input's column names against ours.

        Raises:
            ConfigurationError: One of ours is there already.
        """
        clash = set(self.names).intersection(columns)
        if clash:
            raise ConfigurationError(
                f"the input already has the column {quoted(sorted(clash))}; "
                "give a column prefix for the output's own, or rename it"
            )

    def values(self, result: Result) -> dict[str, Any]:
        """What `result` puts into our columns, in order."""
        completions = result.completions
        pick = self._all if self.num_generations > 1 else self._first
        values = [
            pick([completion and completion.text for completion in completions]),
            *(_labelled(completions) if self.labels else ()),
            self.model_name,
            *([pick([c and c.provider for c in completions])] if self.provider else ()),
            pick([ending and ending.finish_reason for ending in result.endings]),
            *self._cost(result.usages),
            self._reported(_errors(result)),
            self._reported([failure and failure_code(failure) for failure in result.failures]),
            pick([ending and ending.reasoning for ending in result.endings]),
            self._reported([failure and failure.text for failure in result.failures]),
        ]
        if self.tool_calls:
            values.append(pick([_tool_calls(completion) for completion in completions]))
        if self.logprobs:
            values.append(pick([completion and completion.logprobs for completion in completions]))
        return dict(zip(self.names, values, strict=True))

    def _cost(self, usages: tuple[Usage, ...]) -> list[int | None]:
        counts = [
            _total(usage.input_tokens for usage in usages),
            _total(usage.output_tokens for usage in usages),
        ]
        if self.reasoning_tokens:
            counts.append(_total(usage.reasoning_tokens for usage in usages))
        return counts

    def result(
        self, ordinal: int, cells: Mapping[str, Any], failures: Sequence[Failure | None] = ()
    ) -> Result:
        """A result whose `values` are these cells of a table, as `cell_text` made them.

        What no column holds is lost: attempts, and what each request cost. A failure's text is
        told from its other parts in `failures`, which are empty for a row without one.
        """
        count = self.num_generations
        failed = [*failures, *[None] * (count - len(failures))]
        endings = [self._ending(cells, n, failed[n]) for n in range(count)]
        kinds = ("input", "output", "reasoning") if self.reasoning_tokens else ("input", "output")
        counts = [cells[self._name(f"{kind}_tokens")] for kind in kinds]
        return Result(
            ordinal=ordinal,
            completions=tuple(one if isinstance(one, Completion) else None for one in endings),
            failures=tuple(one if isinstance(one, Failure) else None for one in endings),
            usages=(Usage(*counts),),
        )

    def _ending(
        self, cells: Mapping[str, Any], n: int, failure: Failure | None
    ) -> Completion | Failure:
        def cell(name: str, *, parsed: bool = False) -> Any:
            value = cells[self._name(name)]
            if self.num_generations > 1:
                value = value[n] if value is not None else None
            return json.loads(value) if parsed and value is not None else value

        if failure is not None:
            return replace(failure, text=cell("failed_generation"))
        calls = cell("tool_calls", parsed=True) if self.tool_calls else None
        return Completion(
            text=cell("generations" if self.num_generations > 1 else "generation"),
            finish_reason=cell("finish_reason"),
            reasoning=cell("reasoning"),
            tool_calls=None if calls is None else tuple(calls),
            logprobs=cell("logprobs", parsed=True) if self.logprobs else None,
            utf8_replaced=cell("error") is not None,
            provider=cell("provider") if self.provider else None,
            distribution=self._distribution(cells) if self.labels and n == 0 else None,
        )

    def _distribution(self, cells: Mapping[str, Any]) -> dict[str, float] | None:
        """The labels' shares; the likeliest first, as objects of JSON have no order."""
        text = cells[self._name("distribution")]
        if text is None:
            return None
        shares: dict[str, float] = json.loads(text)
        label = cells[self._name("label")]
        return {label: shares[label], **shares}

    def _first(self, entries: list[Any]) -> Any:
        return entries[0] if entries else None

    def _all(self, entries: list[Any]) -> list[Any]:
        return entries + [None] * (self.num_generations - len(entries))

    def _reported(self, entries: list[Any]) -> Any:
        """What most rows have nothing of: of several generations null, or one entry each."""
        if self.num_generations == 1:
            return self._first(entries)
        return self._all(entries) if any(entries) else None


def _labelled(completions: Sequence[Completion | None]) -> tuple[Any, Any, Any]:
    """The likeliest label, its probability, and all of them."""
    shares = next((c.distribution for c in completions if c and c.distribution), None)
    if shares is None:
        return None, None, None
    label = next(iter(shares))
    return label, shares[label], dict(shares)


def failure_code(failure: Failure) -> str:
    """A stable name for why a row failed: what `error_code` holds."""
    return failure.code or str(failure.kind)


def _errors(result: Result) -> list[str | None]:
    pairs = zip_longest(result.failures, result.completions)
    return [failure.describe() if failure else _warning(answer) for failure, answer in pairs]


def _warning(completion: Completion | None) -> str | None:
    if completion is None or not completion.utf8_replaced:
        return None
    return f"{WARNING}: utf8_replaced: U+FFFD stands where the server's answer was not UTF-8, twice"


def _tool_calls(completion: Completion | None) -> list[Any] | None:
    if completion is None or completion.tool_calls is None:
        return None
    return [dict(call) for call in completion.tool_calls]


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum of what was counted; None if nothing was."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def cell_text(column: OutputColumn, value: Any) -> Any:
    """A value of `column` as every format holds it: nested values are text of JSON.

    Text is what UTF-8 can carry, whatever a model answered.
    """
    if column.kind in {ColumnKind.COUNT, ColumnKind.SHARE} or value is None:
        return value
    convert = valid_text if column.kind is ColumnKind.TEXT else _stored_json
    if column.many and isinstance(value, list):
        return [None if entry is None else convert(entry) for entry in value]
    return convert(value)


def _stored_json(value: Any) -> str:
    return valid_text(json_text(value))
