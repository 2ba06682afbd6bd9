"""`InferenceEndpointsLLM` as an LLM of upstream's pipelines: its type and shapes, our engine.

Rules
- The fields are upstream's and ours (`fields.py`); one of our LLMs, made from them, answers.
- It goes to child processes as values, secrets included, and is loaded there.
- What no row can get past ends in `load()`, or raises in `generate`, which stops the pipeline
  (`hooks.py`). A row's own failure is `None`, with its reason in the statistics and in the log.
- A batch is one call of `generate`; engine, limits and connections stay from one to the next.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from pydantic import ConfigDict, PrivateAttr, field_validator, model_validator

from distilabel.models.llms.base import AsyncLLM
from distilabel.models.llms.huggingface.inference_endpoints import (
    InferenceEndpointsLLM as UpstreamLLM,
)
from distilabel_endpoints.conversations import without_nulls
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM as EndpointsLLM
from distilabel_endpoints.llms.inputs import Input
from distilabel_endpoints.pipeline.answering import Answering
from distilabel_endpoints.pipeline.fields import Attributes
from distilabel_endpoints.pipeline.generation_kwargs import renamed, spelled_out
from distilabel_endpoints.pipeline.results import generate_outputs

__all__ = ["InferenceEndpointsLLM"]

_TALKATIVE: Final = ("httpx2", "httpcore2", "huggingface_hub", "openai")
"""Loggers that write a line per request; upstream silences their older namesakes."""


class InferenceEndpointsLLM(Attributes, UpstreamLLM):  # type: ignore[misc, valid-type]
    """Hugging Face inference in a pipeline: serverless, dedicated, any TGI or OpenAI-like URL.

    Takes the attributes of distilabel's class of this name and those of
    `distilabel_endpoints.InferenceEndpointsLLM`, and is answered by the engine of the latter.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    _num_generations_param_supported = True
    _answering: Answering | None = PrivateAttr(default=None)

    @field_validator("structured_output")
    @classmethod
    def _can_be_dumped(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        """A pydantic model as its JSON schema."""
        if value is None or not hasattr(value.get("schema"), "model_json_schema"):
            return value
        return {**value, "schema": value["schema"].model_json_schema()}

    @model_validator(mode="after")
    def only_one_of_model_id_endpoint_name_or_base_url_provided(self) -> Self:
        """The attributes fit together. Has the name of upstream's check, which it replaces."""
        if self.use_magpie_template and self.tokenizer_id is None:
            raise ConfigurationError("use_magpie_template needs tokenizer_id.")
        self.standalone()
        return self

    def standalone(self) -> EndpointsLLM:
        """Our class with these settings: for `generate_dataset`, `describe()` and the like."""
        return self._as(EndpointsLLM)

    def _as(self, kind: type[EndpointsLLM]) -> EndpointsLLM:
        names = [name for name in EndpointsLLM.model_fields if name in self.model_fields_set]
        values = {name: getattr(self, name) for name in (*names, "api_key")}
        values = {name: value for name, value in values.items() if value is not None}
        values["generation_kwargs"] = renamed(values.get("generation_kwargs", {}))
        if self.structured_output:
            values["structured_output"] = _grammar(self.structured_output)
            retries = self.structured_output_retries or self.structured_output.get("max_retries")
            values["structured_output_retries"] = retries or 0
        return kind(**values)

    def _model_dump(self, obj: Any, **kwargs: Any) -> dict[str, Any]:
        """Our attributes only if they were set: what is left at its default was not chosen,
        and a step's signature does not change when we get another attribute."""
        unset = {*Attributes.model_fields} - {*UpstreamLLM.model_fields, *self.model_fields_set}
        dump: dict[str, Any] = super()._model_dump(obj, **kwargs)
        return {name: value for name, value in dump.items() if name not in unset}

    @property
    def model_name(self) -> str:
        """The name that is shown, else the model's, else the URL."""
        return (self._answering.llm if self._answering else self.standalone()).model_name

    @property
    def generate_parameters(self) -> list[inspect.Parameter]:
        """What `generation_kwargs` may hold, as upstream reads it."""
        return spelled_out(inspect.signature(self.agenerate).parameters.values())

    def load(self) -> None:
        """Find the endpoint, ask it who it is, and check that the parameters can be sent.

        Raises:
            DistilabelError: no row could be answered; the pipeline ends before it starts.
        """
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if self.use_offline_batch_generation:
            raise ConfigurationError(
                "use_offline_batch_generation is set, and inference endpoints have no offline "
                "batches. Leave it out."
            )
        self.unload()
        self._answering = Answering(self._as, self._prepared)
        AsyncLLM.load(self)
        self._check_magpie(self._answering.llm)
        self._answering.check(1, self.get_generation_kwargs())

    def _check_magpie(self, llm: EndpointsLLM) -> None:
        if self.use_magpie_template and not llm.sends_prompts:
            raise ConfigurationError(
                "use_magpie_template needs text generation, and the serverless router takes "
                "conversations only. Use a dedicated endpoint (endpoint_name) or a base_url."
            )

    def unload(self) -> None:
        """Close the connections."""
        answering, self._answering = self._answering, None
        if answering is not None:
            answering.close()

    def generate(
        self, inputs: Sequence[Any], num_generations: int = 1, **parameters: Any
    ) -> list[dict[str, Any]]:
        """Complete every input of a batch; blocks until all are done.

        Args:
            inputs: conversations, texts, or tuples of one of them and its structured output.
            num_generations: completions per input.
            **parameters: as `agenerate` names them; they win over `generation_kwargs`.

        Returns:
            One dict per input: `generations`, `statistics`, and what else the answers have.

        Raises:
            DistilabelError: no row can be answered. A row that fails alone raises nothing.
        """
        if type(self).agenerate is not InferenceEndpointsLLM.agenerate:
            return super().generate(inputs, num_generations, **parameters)
        merged = {**self.get_generation_kwargs(), **parameters}
        return generate_outputs(self._ready().generate(inputs, num_generations, merged))

    async def agenerate(
        self,
        input: Any,  # noqa: A002 - upstream's name
        num_generations: int = 1,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Complete one input. Any number may be awaited at once; they share one limit.

        Raises:
            DistilabelError: the input or a parameter is wrong, or no request can succeed.
        """
        merged = {**self.get_generation_kwargs(), **parameters}
        (made,) = generate_outputs([await self._ready().agenerate(input, num_generations, merged)])
        return made

    def _ready(self) -> Answering:
        if self._answering is None:
            self.load()
        if self._answering is None:
            raise ConfigurationError(
                f"{type(self).__name__}.load() did not connect to the endpoint. Call "
                "super().load() in it."
            )
        return self._answering

    def prepare_input(self, input: Sequence[Mapping[str, Any]]) -> str:  # noqa: A002
        """The prompt of a conversation: the tokenizer's chat template, then Magpie's."""
        renderer = self._ready().llm.renderer
        prompt = renderer.render(input) if renderer and input else ""
        return str(self.apply_magpie_pre_query_template(prompt, input))

    def _prepared(self, input_: Any) -> Input:
        """What a task gives as our LLM takes it."""
        content, grammar = input_ if isinstance(input_, tuple) else (input_, None)
        own = type(self).prepare_input is not InferenceEndpointsLLM.prepare_input
        if (own or self.use_magpie_template) and not isinstance(content, str):
            content = self.prepare_input(content)
        return (content, _grammar(without_nulls(grammar))) if grammar else content

    def __getstate__(self) -> dict[Any, Any]:
        """Without what is open: it is loaded where it lands."""
        state = super().__getstate__()
        private = {**(state["__pydantic_private__"] or {}), "_answering": None}
        return {**state, "__pydantic_private__": private}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        answering, self._answering = self._answering, None
        try:
            return super().__deepcopy__(memo)
        finally:
            self._answering = answering


def _grammar(value: Mapping[str, Any]) -> dict[str, Any]:
    """The part of upstream's dictionary that says what is asked for."""
    return {key: value[key] for key in ("format", "schema") if value.get(key) is not None}


InferenceEndpointsLLM.__module__ = "distilabel_endpoints.pipeline"  # as saved pipelines name it

# Last: it imports upstream's pipelines, which import the class above from `distilabel.llms`.
from distilabel_endpoints.pipeline.hooks import install_hooks  # noqa: E402

install_hooks(InferenceEndpointsLLM)
