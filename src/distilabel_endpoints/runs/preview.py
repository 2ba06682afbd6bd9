"""`--dry-run`: the resolved plan, the first request, an estimate. Sends no generation."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.rows import BadRow, Row, RowSource, check_output
from distilabel_endpoints.runs.kept_input import OneTimeInput
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.planning import RowPlanner
from distilabel_endpoints.runs.written import refuse_foreign

__all__ = ["preview"]

_SAMPLE: Final = 200
_CHARACTERS_A_TOKEN: Final = 4.0


def preview(
    llm: InferenceEndpointsLLM,
    source: RowSource | OneTimeInput,
    output: Path,
    options: RunOptions,
    *,
    fresh: bool = False,
) -> str:
    """What a run would do, for a person to read. The first request is shown with its prompt.

    Rows that come once are taken to a folder for the time of the call: those that an earlier run
    kept stay.

    Raises:
        InputError: what the run itself would raise before its first request.
    """
    if not isinstance(source, RowSource):
        with TemporaryDirectory(prefix="distilabel-endpoints-") as folder:
            rows = source.take(Path(folder) / "rows")
            return preview(llm, rows, output, options, fresh=fresh)
    planner = RowPlanner(llm, source.columns, options)
    check_output(output, planner.output_columns(), source)
    if not fresh:
        refuse_foreign(output)
    plans, bad = _sample(source, planner)
    lines = [*_plan_lines(llm, source, output, options)]
    lines += [f"bad row       {row.describe()}" for row in bad[:5]]
    if plans:
        lines += ["", "first request:", _shown(plans[0]), "", _estimate(plans, source, options)]
    else:
        lines += ["", "no row can be sent"]
    return "\n".join(lines) + "\n"


def _plan_lines(
    llm: InferenceEndpointsLLM, source: RowSource, output: Path, options: RunOptions
) -> list[str]:
    about = llm.describe()
    count = source.count_hint
    rows = "an unknown number of rows" if count is None else f"{count:,} rows"
    limit = f", the first {options.limit:,}" if options.limit else ""
    parameters = {**llm.generation_kwargs, **options.parameters}
    return [
        f"input         {source.describe()} ({rows}{limit})",
        f"output        {output}",
        f"target        {about.target}",
        *(f"url           {url} ({server.value})" for url, server in about.endpoints.items()),
        f"model         {about.model or 'not named'}",
        f"client        {about.client}, route {about.route.value}",
        f"parameters    {json.dumps(parameters, ensure_ascii=False)}",
        f"generations   {options.num_generations} a row",
        f"concurrency   {llm.max_concurrency or 'as much as the endpoint takes'}",
    ]


def _sample(source: RowSource, planner: RowPlanner) -> tuple[list[RowPlan], list[BadRow]]:
    plans: list[RowPlan] = []
    bad: list[BadRow] = []
    for item in islice(source, _SAMPLE):
        if isinstance(item, Row):
            plans.append(planner.plan(item))
        else:
            bad.append(item)
    return plans, bad


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


def _estimate(plans: list[RowPlan], source: RowSource, options: RunOptions) -> str:
    """Tokens of the whole run, from a sample of its prompts at four characters a token."""
    characters = sum(_length(plan) for plan in plans) / len(plans)
    prompt = characters / _CHARACTERS_A_TOKEN
    most = (plans[0].request.max_new_tokens or 0) * options.num_generations
    rows = source.count_hint
    if rows is not None and options.limit is not None:
        rows = min(rows, options.limit)
    each = f"about {prompt:.0f} tokens in, at most {most:,} out, a row"
    if rows is None:
        return f"estimate      {each}"
    return f"estimate      {each}; {prompt * rows:,.0f} in, at most {most * rows:,} out in all"


def _length(plan: RowPlan) -> int:
    if plan.request.prompt is not None:
        return len(plan.request.prompt)
    return sum(len(str(m.get("content") or "")) for m in plan.request.messages or ())
