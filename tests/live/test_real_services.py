"""The real Hugging Face services: run with a token, `HF_TOKEN=... pytest -m live`.

`DISTILABEL_ENDPOINTS_LIVE_MODEL` names the serverless model (a small one by default), and
`DISTILABEL_ENDPOINTS_LIVE_ENDPOINT` (`namespace/name`) a dedicated endpoint, which is woken if
it sleeps.
"""

from __future__ import annotations

import os

import pytest

from distilabel_endpoints.errors import AuthenticationError, ModelNotFoundError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("HF_TOKEN"), reason="needs a token in HF_TOKEN"),
]

HELLO = [{"role": "user", "content": "Say hello in one word."}]
MODEL = os.environ.get("DISTILABEL_ENDPOINTS_LIVE_MODEL", "meta-llama/Llama-3.1-8B-Instruct")
ENDPOINT = os.environ.get("DISTILABEL_ENDPOINTS_LIVE_ENDPOINT", "")


@pytest.mark.parametrize("client", [False, True])
def test_serverless(client: bool) -> None:
    """A model on the router answers, through both clients."""
    with InferenceEndpointsLLM(model_id=MODEL, use_openai_client=client) as llm:
        (output,) = llm.generate_outputs([HELLO], max_new_tokens=8, temperature=0)
    assert output["generations"][0]
    assert output["statistics"]["output_tokens"][0]


def test_no_such_model() -> None:
    """A model that is not there is said at `load`."""
    with pytest.raises(ModelNotFoundError):
        InferenceEndpointsLLM(model_id="distilabel/there-is-no-such-model").load()


def test_a_wrong_token() -> None:
    """A made-up token is rejected at `load`."""
    with pytest.raises(AuthenticationError):
        InferenceEndpointsLLM(model_id=MODEL, api_key="hf_" + "x" * 34).load()


@pytest.mark.skipif(
    not ENDPOINT, reason="names a dedicated endpoint in DISTILABEL_ENDPOINTS_LIVE_ENDPOINT"
)
@pytest.mark.parametrize("client", [False, True])
def test_dedicated_endpoint(client: bool) -> None:
    """A dedicated endpoint is woken, waited for, and answers."""
    namespace, _, name = ENDPOINT.rpartition("/")
    with InferenceEndpointsLLM(
        endpoint_name=name, endpoint_namespace=namespace or None, use_openai_client=client
    ) as llm:
        assert llm.generate([HELLO], max_new_tokens=8)[0][0]
        assert llm.describe().model
