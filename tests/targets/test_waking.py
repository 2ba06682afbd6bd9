"""An endpoint that somebody pauses in the middle of a run: resumed only where that was asked."""

from __future__ import annotations

import pytest
from target_samples import GOOD, HELLO, TOKENS, Start

from distilabel_endpoints.errors import UnavailableError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.testing import Deployment, Fault, Pause, SimulatedEndpoint

RESUME = "/control/v2/endpoint/ada/mine/resume"


def paused_soon(start: Start, *, wake_fails: bool = False) -> SimulatedEndpoint:
    return start(
        tokens=TOKENS,
        deployment=Deployment("mine", namespace="ada", wake_fails=wake_fails),
        faults=(Fault(Pause(), nth=3),),
    )


@pytest.mark.parametrize("use_openai_client", [False, True])
def test_a_paused_endpoint_is_resumed_where_that_is_asked(
    simulated_hugging_face: Start, use_openai_client: bool
) -> None:
    """The run finds it paused, resumes it once, and finishes."""
    hub = paused_soon(simulated_hugging_face)
    with InferenceEndpointsLLM(
        endpoint_name="mine",
        endpoint_namespace="ada",
        api_key=GOOD,
        use_openai_client=use_openai_client,
        max_concurrency=2,
        wake=True,
    ) as llm:
        answers = llm.generate([HELLO] * 6)
    assert all(texts[0] for texts in answers)
    assert [record.path for record in hub.requests if record.method == "POST"].count(RESUME) == 1


def test_nobody_resumes_it_unasked(simulated_hugging_face: Start) -> None:
    """It costs money: the run waits, says how to fix it, and stops."""
    hub = paused_soon(simulated_hugging_face)
    with (
        InferenceEndpointsLLM(
            endpoint_name="mine", endpoint_namespace="ada", api_key=GOOD, wait_ready=0.5
        ) as llm,
        pytest.raises(UnavailableError, match=r"paused.*wake=True"),
    ):
        llm.generate([HELLO] * 6)
    assert RESUME not in {record.path for record in hub.requests}


def test_waking_is_for_endpoints_that_have_a_name() -> None:
    """A URL cannot be resumed."""
    with pytest.raises(ValueError, match="wake is given without endpoint_name"):
        InferenceEndpointsLLM(base_url="http://127.0.0.1:1", wake=True)
