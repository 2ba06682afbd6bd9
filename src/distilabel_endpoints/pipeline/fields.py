"""Our attributes as fields of an LLM of upstream: derived from our class, never listed again."""

from __future__ import annotations

from typing import Annotated, Any, Final, Optional, cast

from pydantic import AfterValidator, BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from distilabel.mixins.runtime_parameters import _RUNTIME_PARAMETER_ANNOTATION
from distilabel.mixins.signature import _EXCLUDE_FROM_SIGNATURE_DEFAULTS
from distilabel.models.llms.huggingface.inference_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM as EndpointsLLM

__all__ = ["NOT_IN_SIGNATURE", "Attributes"]

_REPLACED: Final = ("api_key", "base_url", "structured_output")
"""Fields of upstream that take less than ours."""

NOT_IN_SIGNATURE: Final = frozenset(
    {"bill_to", "ca_file", "max_concurrency", "max_pause", "requests_per_minute", "stream"}
    | {"timeout", "tokens_per_minute", "trusted_hosts", "wait_ready", "wake"}
)
"""Attributes that decide how fast answers come, not which: a step that was cached under others
stays cached."""


def _runtime_parameter(field: FieldInfo) -> tuple[Any, FieldInfo]:
    """The field as `Pipeline.run(parameters=...)` can set it; secrets are not dumped."""
    made = field.default_factory
    default: dict[str, Any] = {"default": field.default if made is None else None}
    if made not in {None, list}:
        default = {"default_factory": made}
    secret = None if field.repr else True
    same = Field(**default, description=field.description, repr=field.repr, exclude=secret)
    inner = cast("Any", Annotated)[field.annotation, *field.metadata, _RUNTIME_PARAMETER_ANNOTATION]
    # Upstream looks for `typing.Union` itself, and at the first entry of every list.
    return Annotated[Optional[inner], AfterValidator(_no_empty_list)], same  # noqa: UP045


def _no_empty_list(value: Any) -> Any:
    return None if value == [] else value


def _make() -> type[BaseModel]:
    fields: dict[str, Any] = {
        name: _runtime_parameter(field)
        for name, field in EndpointsLLM.model_fields.items()
        if name in _REPLACED or name not in InferenceEndpointsLLM.model_fields
    }
    return create_model("Attributes", __module__=__name__, **fields)


Attributes: Final = _make()
"""A mix-in with every attribute that our class has and upstream's has not."""

_EXCLUDE_FROM_SIGNATURE_DEFAULTS.update(f"llm_{name}" for name in NOT_IN_SIGNATURE)
