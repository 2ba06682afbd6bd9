"""What is changed in upstream's own classes once this room is imported, in every process of a run.

1. An error of ours that no row can get past stops the pipeline. Upstream would fill the batch with
   `None` and take the next one. Here the batch is given back, nothing is recorded for it, and
   `Pipeline.run` raises the error: the same program, run again, resumes at that batch.
2. The schema that a task brings along is given to our LLM as it is. Upstream first asks for the
   package `outlines`, which this LLM does not use.
3. The input of a structured generation, kept in the metadata, is its messages. Upstream keeps a
   tuple with the schema, which Arrow cannot write.
4. A row's statistics, which hold the reason of its failure, stay in its metadata if the task
   cannot make sense of an answer. Upstream leaves them out then.
5. A pipeline that was stopped resumes from its cache. Upstream waits for ever for a batch that a
   step had used up before the stop.
6. Pipelines that distilabel 1.4 or older saved find the class, which moved in 1.5.

Everything else is as before. The extra `pipeline` pins the version that this was written for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

from distilabel.constants import DISTILABEL_METADATA_KEY
from distilabel.exceptions import DistilabelOfflineBatchGenerationNotFinishedException
from distilabel.models.llms.base import LLM
from distilabel.pipeline.base import BasePipeline
from distilabel.pipeline.batch import _Batch
from distilabel.pipeline.batch_manager import _BatchManager
from distilabel.pipeline.local import Pipeline
from distilabel.pipeline.step_wrapper import _StepWrapper, _StepWrapperException
from distilabel.steps.base import GlobalStep
from distilabel.steps.tasks.base import _Task, iterate_generations_with_stats
from distilabel.utils.logging import stop_logging
from distilabel.utils.serialization import _OLD_IMPORT_MODULE_ATTR
from distilabel_endpoints.errors import DistilabelError, RunError

__all__ = ["install_hooks"]

Method = Callable[..., Any]


def install_hooks(llm_class: type[LLM]) -> None:
    """Change upstream's classes in this process; 2 to 4 for tasks with an LLM of `llm_class`."""
    _wrap(GlobalStep, "process_applying_mappings", _keep_rows)
    _wrap(_StepWrapper, "_impute_step_outputs", _leave_on_error)
    _wrap(_StepWrapper, "_send_batch", _send_or_give_back)
    _wrap(_StepWrapper, "_generator_step_process_loop", _leave_generator_on_error)
    _wrap(BasePipeline, "_process_batch", _process_or_stop)
    _wrap(BasePipeline, "_handle_batch_on_stop", _keep_given_back)
    _wrap(Pipeline, "_error_callback", _ignore_reported)
    _wrap(Pipeline, "_teardown", _end_log)
    _wrap(_Task, "_set_default_structured_output", partial(_set_schema, llm_class))
    _wrap(_Task, "_create_metadata", partial(_create_metadata, llm_class))
    _wrap(_Task, "_format_outputs", partial(_format_outputs, llm_class))
    _BatchManager.load_from_cache = _resumable(_BatchManager.load_from_cache)
    here = llm_class.__module__, llm_class.__name__
    for module in ("huggingface", "huggingface.inference_endpoints"):
        _OLD_IMPORT_MODULE_ATTR[f"distilabel.llms.{module}", llm_class.__name__] = here


def _wrap(owner: type, name: str, around: Method) -> None:
    """Replace a method by a function that gets the original before the method's arguments."""
    original = getattr(owner, name)

    @wraps(original)
    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        return around(original, self, *arguments, **named)

    setattr(owner, name, method)


@dataclass(frozen=True)
class _Unanswered:
    """Sent in the place of a batch's results: its rows, and why no row can be answered."""

    step_name: str
    error: DistilabelError
    batch: _Batch | None = field(default=None, repr=False)
    seq_no: int = -1


class _UnfinishedError(DistilabelOfflineBatchGenerationNotFinishedException):
    """Our error in a global step: upstream keeps the rows for errors of this type only."""

    def __init__(self, error: DistilabelError) -> None:
        Exception.__init__(self, error)
        self.error = error


def _fatal(error: BaseException | None) -> DistilabelError | None:
    """Our error, if a step's exception came from one."""
    cause = error.subprocess_exception if isinstance(error, _StepWrapperException) else error
    cause = cause.error if isinstance(cause, _UnfinishedError) else cause
    if isinstance(cause, RunError):
        cause.outputs = []  # rows of a batch come back together, or not at all
    return cause if isinstance(cause, DistilabelError) else None


# In the process of a step


def _keep_rows(original: Method, step: Any, *rows: Any) -> Iterator[Any]:
    try:
        yield from original(step, *rows)
    except DistilabelError as error:
        raise _UnfinishedError(error) from error


def _leave_on_error(original: Method, wrapper: Any, batch: Any) -> Any:
    """Upstream calls this while it handles a step's exception, to fill the batch with `None`."""
    error = _fatal(sys.exception())
    if error is None:
        return original(wrapper, batch)
    wrapper.step.unload()
    wrapper._notify_unload()
    raise _StepWrapperException(str(error), wrapper.step, 2, error, batch.data) from error


def _send_or_give_back(original: Method, wrapper: Any, batch: Any) -> None:
    """Upstream calls this in a `finally`, with an empty batch if an exception is on its way."""
    exception = sys.exception()
    error = _fatal(exception)
    if error is None:
        original(wrapper, batch)
        return
    assert isinstance(exception, _StepWrapperException)
    batch.set_data(exception.data)
    # Ray prints the exceptions of its actors, and the rows hold prompts.
    exception.data, exception.args = None, (*exception.args[:4], None)
    wrapper.output_queue.put(_Unanswered(batch.step_name, error, batch, batch.seq_no))


def _leave_generator_on_error(original: Method, wrapper: Any) -> None:
    """Upstream does not say that a failed generator is gone, and waits for it for ever."""
    try:
        original(wrapper)
    except _StepWrapperException as exception:
        error = _fatal(exception)
        if error is not None:
            wrapper.step.unload()
            wrapper._notify_unload()
            wrapper.output_queue.put(_Unanswered(wrapper.step.name, error))
        raise


# In tasks


def _set_schema(llm_class: type[LLM], original: Method, task: Any) -> None:
    schema = task.use_default_structured_output and task.get_structured_output()
    if not (schema and isinstance(task.llm, llm_class)):
        original(task)
    elif not task.llm.structured_output:
        task.llm.structured_output = {"format": "json", "schema": schema}


def _create_metadata(
    llm_class: type[LLM], original: Method, task: Any, *arguments: Any, **named: Any
) -> Any:
    output = original(task, *arguments, **named)
    metadata = output.get(DISTILABEL_METADATA_KEY) or {}
    raw = metadata.get(key := f"raw_input_{task.name}")
    if isinstance(raw, tuple) and isinstance(task.llm, llm_class):
        metadata[key] = raw[0]
    return output


def _format_outputs(
    llm_class: type[LLM], original: Method, task: Any, outputs: Any, *rest: Any, **named: Any
) -> Any:
    rows = original(task, outputs, *rest, **named)
    if isinstance(task.llm, llm_class):
        generations = iterate_generations_with_stats(outputs)
        for row, (_, statistics, _) in zip(rows, generations, strict=True):
            metadata = row.setdefault(DISTILABEL_METADATA_KEY, {})
            metadata.setdefault(f"statistics_{task.name}", statistics)
    return rows


# In the pipeline's process


def _process_or_stop(original: Method, pipeline: Any, batch: Any, **named: Any) -> None:
    if not isinstance(batch, _Unanswered):
        original(pipeline, batch, **named)
        return
    pipeline._logger.error(
        "🛑 Step '%s' stops the pipeline, because no row can be answered. What was done is in its"
        " cache; run it again to resume. %s",
        batch.step_name,
        batch.error,
    )
    if pipeline._exception is None:
        pipeline._exception = batch.error
    if not pipeline._stop_called:
        pipeline._stop()


def _keep_given_back(original: Method, pipeline: Any, batch: Any) -> None:
    if not isinstance(batch, _Unanswered):
        original(pipeline, batch)
    elif batch.batch is not None:
        pipeline._batch_manager.add_batch(batch.step_name, batch.batch, prepend=True)


def _ignore_reported(original: Method, pipeline: Any, error: BaseException) -> None:
    """The step has reported it through its queue, in the place of a batch."""
    reported = isinstance(error, _StepWrapperException) and not error.is_load_error
    if not (reported and _fatal(error)):
        original(pipeline, error)


def _end_log(original: Method, pipeline: Any) -> None:
    """Upstream leaves its log open if it then raises, which ends in a traceback at exit."""
    original(pipeline)
    if pipeline._exception is not None:
        stop_logging()


def _resumable(load: Method) -> Method:
    @wraps(load)
    def load_from_cache(*arguments: Any, **named: Any) -> Any:
        manager = load(*arguments, **named)
        for step in manager._steps.values():
            for name, batches in step.data.items():
                expected = step.next_expected_seq_no[name][0]
                step.data[name] = [b for b in batches if b.data[0] or b.seq_no >= expected]
        return manager

    return load_from_cache
