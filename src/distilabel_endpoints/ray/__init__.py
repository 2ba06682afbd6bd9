"""Generation as a stage of `ray.data` pipelines, and runs over a Ray cluster.

    ds = read_rows("prompts.jsonl")
    ds = generate_ray(llm, ds, actors=4, max_new_tokens=256)
    write_shards(ds, "answers")

Each actor runs this package's engine as one continuous window over several blocks. What holds for
the job as a whole (a ceiling, a server's pause) is kept by one small actor. Importing this does not
import the library `ray`.
"""

from distilabel_endpoints.ray.shards import write_shards
from distilabel_endpoints.ray.source import PROBLEM, ROW_ID, read_rows
from distilabel_endpoints.ray.stage import generate_ray

__all__ = ["PROBLEM", "ROW_ID", "generate_ray", "read_rows", "write_shards"]
