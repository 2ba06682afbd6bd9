"""`generate_ray`: the stage itself, and what is checked when it is made."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final, Unpack

from distilabel_endpoints._targets.router_models import STICKY
from distilabel_endpoints.config import MAX_ROW_MB
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.llms.answer_columns import columns_of
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.inputs import GenerationParameters
from distilabel_endpoints.llms.overrides import own_parameters
from distilabel_endpoints.ray.coordinator import start_coordinator
from distilabel_endpoints.ray.package import ray_package
from distilabel_endpoints.ray.parcel import pack
from distilabel_endpoints.ray.source import ADDED
from distilabel_endpoints.ray.worker import GenerateRows, JobSpec
from distilabel_endpoints.rows.formats import Format
from distilabel_endpoints.runs.options import BadRowPolicy, RunOptions

__all__ = [
    "ACTORS",
    "BLOCKS_IN_FLIGHT",
    "NUM_CPUS",
    "ROWS_PER_BLOCK",
    "generate_blocks",
    "generate_ray",
]

ACTORS: Final = 2
NUM_CPUS: Final = 0.25
"""An actor waits for an endpoint most of its time."""
ROWS_PER_BLOCK: Final = 256
BLOCKS_IN_FLIGHT: Final = 8
_OTHERS_CPUS: Final = 0.75
"""Of one task each that reads, cuts and writes."""


def generate_ray(
    llm: InferenceEndpointsLLM,
    ds: Any,
    *,
    actors: int = ACTORS,
    num_cpus: float = NUM_CPUS,
    rows_per_block: int = ROWS_PER_BLOCK,
    blocks_in_flight: int = BLOCKS_IN_FLIGHT,
    num_generations: int = 1,
    input_column: str | None = None,
    system: str | None = None,
    template: str | None = None,
    on_bad_row: BadRowPolicy = "fail",
    column_prefix: str = "",
    format: Format = "auto",  # noqa: A002 - the word for it
    drop_last_assistant: bool = False,
    row_settings: bool = True,
    max_row_mb: int = MAX_ROW_MB,
    id_column: str | None = None,
    api_key_env: str | None = None,
    headers_env: Mapping[str, str] | None = None,
    **parameters: Unpack[GenerationParameters],
) -> Any:
    """Complete every row of a `ray.data.Dataset`, which is executed when it is consumed.

    The output has the input's columns, unchanged, and those that `distilabel-endpoints generate`
    adds: `generation` (or `generations`), `model_name`, `finish_reason`, `input_tokens`,
    `output_tokens`, `error`, `error_code`, `reasoning`, `failed_generation`. A row's failure is its
    `error`. What no row can get past (a bad token, no such model) ends the execution, with our
    error's class and text in Ray's.

    Args:
        llm: what answers. `max_concurrency` and the limits per minute hold for all actors together.
            Its secrets do not travel: workers read `HF_TOKEN`, or their saved login.
        ds: rows with a conversation each.
        actors: how many; fewer if `max_concurrency` is.
        num_cpus: of each actor. All actors, the reading and the writing must fit into the cluster.
        rows_per_block: rows of one task; what a task has done is lost when its worker is.
        blocks_in_flight: tasks that one actor works on at once.
        num_generations: completions per row.
        input_column: default `messages`, else `prompt`, else `instruction`.
        system: a system message for rows of text.
        template: a Jinja template over the columns, which makes the user's message.
        on_bad_row: a row that cannot be sent: `fail` gives it an `error`, `skip` leaves it out.
        column_prefix: before the names of the columns that are added.
        format: `auto`, `messages`, `sharegpt`, `alpaca` or `prompt`.
        drop_last_assistant: leave out assistant messages at the end of a conversation.
        row_settings: whether columns with such names are a row's own system message and parameters.
        max_row_mb: a larger row is recorded as failed.
        id_column: which column tells rows apart; default `row_id`, which `read_rows` makes. A
            `seed` counts from the ordinal in it, from a number, or from the hash of anything else.
        api_key_env: the variable of the workers' environment that holds the token.
        headers_env: header names to variables of the workers' environment, for `llm.headers`.
        **parameters: see `GenerationParameters`.

    Raises:
        InputError: a secret was given to `llm` that workers cannot read for themselves, a parameter
            is wrong, or the columns do not fit.
        InstallationError: `ray` is not installed.
    """
    options = RunOptions(
        num_generations=num_generations,
        parameters=own_parameters(type(llm), parameters),
        input_column=input_column,
        system=system,
        template=template,
        on_bad_row=on_bad_row,
        column_prefix=column_prefix,
        format=format,
        drop_last_assistant=drop_last_assistant,
        row_settings=row_settings,
        max_row_mb=max_row_mb,
    )
    if llm.provider == STICKY:
        raise ConfigurationError(
            "provider='sticky' needs a run that sees all workers: generate_dataset(..., ray=...). "
            "In a pipeline of your own, name the provider."
        )
    _check_counts(actors=actors, rows_per_block=rows_per_block, blocks_in_flight=blocks_in_flight)
    actors = min(actors, llm.max_concurrency or actors)
    parcel = pack(llm, workers=actors, api_key_env=api_key_env, headers_env=headers_env)
    _check_columns(ds, llm, options)
    return generate_blocks(
        ds,
        JobSpec(parcel=parcel, options=options, id_column=id_column),
        start_coordinator(parcel.identity(), llm.max_concurrency),
        actors=actors,
        num_cpus=num_cpus,
        rows_per_block=rows_per_block,
        blocks_in_flight=blocks_in_flight,
    )


def generate_blocks(
    ds: Any,
    spec: JobSpec,
    coordinator: Any,
    *,
    actors: int,
    treasury: Any = None,
    num_cpus: float = NUM_CPUS,
    rows_per_block: int = ROWS_PER_BLOCK,
    blocks_in_flight: int = BLOCKS_IN_FLIGHT,
) -> Any:
    """`ds` in blocks of at most `rows_per_block`, with the actors behind that complete them."""
    ray = ray_package("generate_ray")
    _warn_of_waiting(ray, actors, num_cpus)
    return _in_blocks(ds, rows_per_block, num_cpus).map_batches(
        GenerateRows,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            size=actors, max_concurrent_calls_per_actor=blocks_in_flight
        ),
        num_cpus=num_cpus,
        fn_constructor_kwargs={"spec": spec, "coordinator": coordinator, "treasury": treasury},
        udf_modifying_row_count=spec.options.on_bad_row == "skip" or spec.money is not None,
    )


def _warn_of_waiting(ray: Any, actors: int, num_cpus: float) -> None:
    """Ray says nothing when it waits for CPUs that will never be there."""
    needed = actors * num_cpus + _OTHERS_CPUS
    there = ray.cluster_resources().get("CPU", 0.0) if ray.is_initialized() else needed
    if needed > there:
        warnings.warn(
            f"{actors} actors of {num_cpus} CPUs, and what reads and writes, need {needed:g}; the "
            f"cluster has {there:g} CPUs. Ray waits until it has more: give fewer actors, or a "
            "smaller num_cpus.",
            UserWarning,
            stacklevel=3,
        )


def _in_blocks(ds: Any, rows: int, num_cpus: float) -> Any:
    """`ds` in blocks of at most `rows`, cut by tasks that need no more than an actor does."""
    cut = ds.repartition(target_num_rows_per_block=rows)
    # Ray has no public way to say what these tasks need, and a whole CPU is one too many on a
    # laptop, where they would wait for ever.
    cut._logical_plan.dag.ray_remote_args["num_cpus"] = num_cpus  # noqa: SLF001
    return cut


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise ConfigurationError(f"{name} must be an integer >= 1; got {count!r}.")


def _check_columns(ds: Any, llm: InferenceEndpointsLLM, options: RunOptions) -> None:
    """What can be known of the columns without executing anything."""
    if options.on_bad_row == "stop":
        raise ConfigurationError(
            "on_bad_row='stop' needs to see every row before the start; use 'fail' or 'skip'."
        )
    schema = ds.schema(fetch_if_missing=False)
    if schema is None:
        return
    names = [name for name in schema.names if name not in ADDED]
    columns_of(
        llm,
        options.parameters,
        num_generations=options.num_generations,
        prefix=options.column_prefix,
    ).refuse_clash(schema.names)
    options.conversations.bind(names)
