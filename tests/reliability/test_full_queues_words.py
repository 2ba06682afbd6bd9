"""A server that says 503 when it has enough to do, in the words of those that do."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from virtual_engine import open_stage

from distilabel_endpoints.testing import Latency, Limits
from distilabel_endpoints.testing.flavors import FULL_QUEUES
from virtual import Library

ROWS = 200


@pytest.mark.parametrize(("name", "library"), [*product(FULL_QUEUES, get_args(Library))])
def test_a_full_queue_costs_no_row_and_few_requests(
    name: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever words or page the server has for it, through both clients."""
    limits = Limits(queue=0, refusal=503, refusal_words=FULL_QUEUES[name])
    with open_stage(monkeypatch, library, slots=16, limits=limits, latency=Latency(1.0)) as stage:
        inputs = [[{"role": "user", "content": f"question {n}"}] for n in range(ROWS)]
        outputs = stage.llm.generate_outputs(inputs)
        assert all(output["generations"][0] for output in outputs)
        assert stage.requests - ROWS <= 50
