"""A pipeline of upstream with one of the two classes, as programs write it; see `pipelines.py`."""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module


def main(module: str, url: str, rows: int, batch: int, replicas: int) -> None:
    """Run it, and print how many rows have no answer."""
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    llm = import_module(module).InferenceEndpointsLLM(base_url=url, api_key="none")
    data = [{"instruction": f"say {number}"} for number in range(rows)]
    with tempfile.TemporaryDirectory() as cache, Pipeline(name="bench", cache_dir=cache) as made:
        load = LoadDataFromDicts(data=data, batch_size=batch)
        task = TextGeneration(llm=llm, input_batch_size=batch, resources={"replicas": replicas})
        load.connect(task)
        answers = made.run(use_cache=False)["default"]["train"]["generation"]
    missing = rows - len(answers) + sum(answer is None for answer in answers)
    sys.stdout.write("\n" + json.dumps({"missing": missing}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
