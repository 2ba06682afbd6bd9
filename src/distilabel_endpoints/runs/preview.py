"""`--dry-run`: the resolved plan, the first request, an estimate. Sends no generation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.config import MAX_NEW_TOKENS
from distilabel_endpoints.errors import InputError
from distilabel_endpoints.llms.attributes import effective_parameters
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.rows import BadRow, OutputColumns, Row, RowSource, check_output
from distilabel_endpoints.runs.batch import BatchPlanner, planning
from distilabel_endpoints.runs.kept_input import OneTimeInput
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.planning import Planning
from distilabel_endpoints.runs.scan import Scan, checked, none_fit, refused
from distilabel_endpoints.runs.written import Written, refuse_foreign

__all__ = ["Preview", "preview"]

_SHOWN: Final = 1000
_REPEATED: Final = 10
"""Bad rows that the refusal names again, below the plan that has shown them."""
# The usual rule of thumb for English; other languages need more tokens.
_CHARACTERS_A_TOKEN: Final = 4.0


class Preview(NamedTuple):
    """What a run would do."""

    text: str
    """For a person to read."""
    refusal: InputError | None
    """What the run would raise once it has looked at every row."""


def preview(
    llm: InferenceEndpointsLLM,
    source: RowSource | OneTimeInput,
    output: Path,
    options: RunOptions,
    *,
    fresh: bool = False,
) -> Preview:
    """What a run would do. The first request is shown with its prompt.

    Rows that come once are taken to a folder for the time of the call: those that an earlier run
    kept stay.

    Raises:
        InputError: what the run itself would raise before its first request.
    """
    if not isinstance(source, RowSource):
        with TemporaryDirectory(prefix="distilabel-endpoints-") as folder:
            rows = source.take(Path(folder) / "rows")
            return preview(llm, rows, output, options, fresh=fresh)
    llm.only_look()
    planner = planning(llm, source, output, options)
    columns = planner.output_columns()
    check_output(output, columns, source)
    if not fresh:
        refuse_foreign(output)
    look = _look_through(source, planner, columns, options)
    lines = [*_plan_lines(llm, source, look, output, options, planner=planner)]
    if not fresh:
        lines += _remarks_on(output)
    lines += [f"note          {note}" for note in (*source.notes, *planner.remarks())]
    lines += [f"bad row       {row.describe()}" for row in look.bad]
    if look.bad_rows > len(look.bad):
        lines.append(f"bad row       and {look.bad_rows - len(look.bad):,} more")
    if look.first is None:
        lines += ["", "no row can be sent"]
    else:
        lines += ["", "first request:", _shown(look.first), "", _estimate(look, options)]
    return Preview("\n".join(lines) + "\n", _refusal(look, source, options))


def _refusal(look: _Look, source: RowSource, options: RunOptions) -> InputError | None:
    if look.bad and options.on_bad_row == "stop":
        return refused(look.bad[:_REPEATED], look.bad_rows)
    if look.bad and look.first is None:
        return none_fit(Scan(total=look.rows, examples=look.bad), source)
    return None


def _remarks_on(output: Path) -> list[str]:
    """A note if the run would have to look into what is at `output`, which may end in refusing."""
    if not journal_path(output).exists():
        return []
    with Reader(output) as reader:
        if Written(output, reader).stands:
            return []
    remark = (
        f"{output} was changed since this run wrote it; unless it is only the beginning of what "
        "was written, the run refuses to replace it"
    )
    return [f"note          {remark}"]


@dataclass(slots=True)
class _Look:
    """What there is to do."""

    rows: int = 0
    """Those that the run would look at."""
    total: int | None = None
    """All that the input holds, if that can be known."""
    bad_rows: int = 0
    bad: list[BadRow] = field(default_factory=list)
    """The first of them."""
    first: RowPlan | None = None
    characters: int = 0
    """Of all prompts."""


def _look_through(
    source: RowSource, planner: Planning, columns: OutputColumns, options: RunOptions
) -> _Look:
    look = _Look()

    def plan(row: Row) -> None:
        planned = planner.plan(row)
        look.characters += _length(planned)
        look.first = look.first or planned

    for item in _within(source, options.limit, look):
        look.rows += 1
        columns.refuse_clash(item.columns)
        bad = checked(item, plan) if isinstance(item, Row) else item
        if bad is not None:
            look.bad_rows += 1
            if len(look.bad) < _SHOWN:
                look.bad.append(bad)
    return look


def _within(source: RowSource, limit: int | None, look: _Look) -> Iterator[Row | BadRow]:
    """The rows up to the limit. Those behind it are counted, if files hold them."""
    look.total = source.count_hint
    if limit is None or look.total is not None or not source.identity:
        yield from islice(source, limit)
        return
    counted = 0

    def is_behind(ordinal: int, _: bytes) -> bool:
        nonlocal counted
        counted = ordinal + 1
        return ordinal >= limit

    yield from source.rows(is_behind)
    look.total = counted


def _plan_lines(
    llm: InferenceEndpointsLLM,
    source: RowSource,
    look: _Look,
    output: Path,
    options: RunOptions,
    *,
    planner: Planning,
) -> list[str]:
    about = llm.describe()
    rows = f"{look.rows:,} rows"
    if options.limit is not None:
        of = f" of {look.total:,}" if look.total is not None else ""
        rows = f"the first {look.rows:,}{of} rows"
    parameters = effective_parameters(llm, options.parameters)
    if not isinstance(planner, BatchPlanner):  # whose bodies say it, or leave it to the server
        parameters = {"max_new_tokens": MAX_NEW_TOKENS, **parameters}
    return [
        f"input         {source.describe()} ({rows})",
        f"output        {output}",
        f"target        {about.target}",
        *(f"url           {url} ({server.value})" for url, server in about.endpoints.items()),
        f"model         {about.model or 'not named'}",
        f"client        {about.client}, route {about.route.value}",
        f"parameters    {json.dumps(parameters, ensure_ascii=False)}",
        f"generations   {options.num_generations} a row",
        f"concurrency   {llm.max_concurrency or 'as much as the endpoint takes'}",
    ]


def _shown(plan: RowPlan) -> str:
    request = plan.request
    body: dict[str, Any] = {}
    if request.prompt is not None:
        body["prompt"] = request.prompt
    else:
        body["messages"] = request.messages
    body |= {"n": plan.wanted, **request.options}
    if request.seed is not None:
        body["seed"] = request.seed
    return json.dumps(body, indent=2, ensure_ascii=False, default=str)


def _estimate(look: _Look, options: RunOptions) -> str:
    """Tokens of the whole run, at four characters a token."""
    assert look.first is not None
    rows = look.rows - look.bad_rows
    prompt = look.characters / _CHARACTERS_A_TOKEN
    most = (look.first.request.max_new_tokens or 0) * options.num_generations
    each = f"about {prompt / rows:.0f} tokens in, at most {most:,} out, a row"
    total = f"{prompt:,.0f} in, at most {most * rows:,} out in all"
    return f"estimate      {rows:,} rows to send; {each}; {total}"


def _length(plan: RowPlan) -> int:
    if plan.request.prompt is not None:
        return len(plan.request.prompt)
    return sum(len(str(m.get("content") or "")) for m in plan.request.messages or ())
