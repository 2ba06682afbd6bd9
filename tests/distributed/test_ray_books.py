"""The books of a job over Ray: kept by a treasury that is lost, or that cannot answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.exceptions

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import DistilabelError, StorageError
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.ray.ledger_file import begin_ledger
from distilabel_endpoints.ray.purse import JobMoney, Purse, Terms, TreasuryActor
from distilabel_endpoints.spending.amounts import Cost
from distilabel_endpoints.spending.budget import UNLIMITED, parse_budget
from distilabel_endpoints.spending.reservation import Bound
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


def test_a_treasury_made_anew_keeps_a_changed_budget(tmp_path: Path) -> None:
    """What `tune` has allowed, tokens and time, holds also after the treasury's process is lost."""
    ledger = begin_ledger(
        tmp_path, parse_budget("5ktok"), price=None, hourly=None, began=0.0, is_fresh=True
    )
    assert TreasuryActor(str(tmp_path), ledger.job).look("w")[1] == Terms(
        Cost(5_000, UNLIMITED), None
    )
    changed = Terms(Cost(100_000, UNLIMITED), 4e9)
    TreasuryActor(str(tmp_path), ledger.job).change(changed, "100ktok and 2h")
    grant, terms = TreasuryActor(str(tmp_path), ledger.job).look("w")
    assert (grant.limit, terms) == (changed.limit, changed)


MONEY = JobMoney(terms=Terms(Cost(5_000, UNLIMITED), None), bound=Bound())
FAILED: Any = ray.exceptions.RayTaskError
DIED = ray.exceptions.RayActorError("", "the books cannot be read", actor_init_failed=True)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (DIED, DistilabelError, "the books cannot be read"),
        (FAILED("grant", "KeyError: 'x'", KeyError("x")), DistilabelError, "'x'"),
        (FAILED("grant", "", StorageError("disk full")), StorageError, "disk full"),
    ],
    ids=["it cannot begin", "it has a defect", "it cannot write"],
)
def test_a_worker_does_not_wait_for_a_treasury_that_cannot_answer(
    simulated_endpoint: Make, error: Exception, kind: type[Exception], message: str
) -> None:
    """An error that the next answer would repeat ends the worker's block, instead of a hang."""

    def refuse(*_: Any) -> None:
        raise error

    treasury = SimpleNamespace(look=SimpleNamespace(remote=refuse))
    with InferenceEndpointsLLM(base_url=simulated_endpoint(flavor="vllm").url) as llm:
        purse = Purse(treasury, "w", engine_of(llm), MONEY)
        for thread in threading.enumerate():
            if thread.name == "distilabel-endpoints-purse":
                thread.join(timeout=30)
                assert not thread.is_alive()
        with pytest.raises(kind, match=message):
            purse.settle()


def test_the_end_of_the_money_that_cannot_be_noted(simulated_endpoint: Make) -> None:
    """The error is the disk's, in its own words, without Ray's traceback."""

    def later(*_: Any) -> None:
        raise ray.exceptions.GetTimeoutError

    def refuse(*_: Any) -> None:
        raise FAILED("run_out", "Traceback", StorageError("disk full"))

    treasury = SimpleNamespace(
        look=SimpleNamespace(remote=later), run_out=SimpleNamespace(remote=refuse)
    )
    with InferenceEndpointsLLM(base_url=simulated_endpoint(flavor="vllm").url) as llm:
        purse = Purse(treasury, "w", engine_of(llm), MONEY)
        purse.account.is_exhausted = True
        with pytest.raises(StorageError) as caught:
            purse.settle()
    assert str(caught.value) == "disk full"
