"""distilabel's `InferenceEndpointsLLM`, in batches of AT_ONCE: URL ROWS AT_ONCE WARM.

Runs in its own environment, where `distilabel` is Argilla's. A batch is what a step of a pipeline
hands to `generate_outputs`; the pipeline itself, which costs more, is left out.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from benchmarks.spent import Load, Spent, Stopwatch, answer, read_load


def _send(load: Load) -> Spent:
    warnings.simplefilter("ignore")
    from distilabel.models.llms import InferenceEndpointsLLM

    llm: Any = InferenceEndpointsLLM(base_url=load.url, api_key="none")
    llm.load()
    batch = load.at_once or 1

    def generate(rows: range) -> None:
        for start in range(0, len(rows), batch):
            inputs = [
                [{"role": "user", "content": f"Row {n}"}] for n in rows[start : start + batch]
            ]
            outputs = llm.generate_outputs(inputs=inputs, max_new_tokens=128)
            assert all(output["generations"] != [None] for output in outputs)

    generate(range(load.warm))
    with Stopwatch() as watch:
        generate(range(load.rows))
    return watch.spent()


if __name__ == "__main__":
    answer(_send(read_load(sys.argv[1:])))
