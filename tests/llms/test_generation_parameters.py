"""The public type of the generation parameters says what the table says."""

from __future__ import annotations

from typing import get_type_hints

from distilabel_endpoints._clients.parameters import PARAMETERS
from distilabel_endpoints.llms.inputs import GenerationParameters


def test_the_type_names_what_the_table_names() -> None:
    """A parameter that is typed is one that can be sent, and the other way round."""
    assert set(get_type_hints(GenerationParameters)) == set(PARAMETERS)


def test_every_parameter_may_be_none() -> None:
    """`None` means: not set."""
    for name, hint in get_type_hints(GenerationParameters).items():
        assert type(None) in hint.__args__, name
