"""P12: requests sent per row when several generations are asked for.

    .venv/bin/python -m benchmarks generations

Counted at the simulated endpoint: once where the server gives several choices (`n`), as OpenAI's
API, vLLM, SGLang and llama.cpp do, once where it gives one whatever was asked (TGI).
"""

from __future__ import annotations

from benchmarks.endpoint import served
from benchmarks.load import conversation
from benchmarks.tables import Bar, print_bars, print_table, size
from distilabel_endpoints import InferenceEndpointsLLM

GENERATIONS = 4
ROWS = size(1_000, 50)
FLAVORS = {"vllm": "yes", "llamacpp": "yes", "tgi": "no"}
CLIENTS = {"hub": False, "openai": True}


def requests_per_row(flavor: str, *, use_openai_client: bool) -> float:
    """Generating requests that came in, over the rows."""
    with (
        served("--flavor", flavor) as endpoint,
        InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=use_openai_client) as llm,
    ):
        inputs = [conversation(n) for n in range(ROWS)]
        outputs = llm.generate(inputs, num_generations=GENERATIONS, temperature=1.0)
        assert all(len(texts) == GENERATIONS and None not in texts for texts in outputs)
    return endpoint.generated / ROWS


def main() -> None:
    """Print the table and the target."""
    found = {
        (flavor, client): requests_per_row(flavor, use_openai_client=openai)
        for flavor in FLAVORS
        for client, openai in CLIENTS.items()
    }
    rows = [
        (flavor, FLAVORS[flavor], client, f"{sent:.3f}") for (flavor, client), sent in found.items()
    ]
    title = f"num_generations={GENERATIONS}, {ROWS:,} rows"
    print_table(title, ("server", "has `n`", "client", "requests per row"), rows)
    most = max(sent for (flavor, _), sent in found.items() if FLAVORS[flavor] == "yes")
    print_bars(Bar("P12", "requests per row where the server has `n`", most, 1.0, unit=""))


if __name__ == "__main__":
    main()
