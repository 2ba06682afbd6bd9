"""A run over a server that is killed and started again in the middle."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from benchmarks.real_servers import RealServer

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.local import LocalEndpoint


def check_a_run_over_a_restart(
    server: RealServer | LocalEndpoint, settings: dict[str, Any], output: Path, *, rows: int
) -> None:
    """A third of the rows is answered, then the server is killed and started: all are answered."""
    prompts = [{"prompt": f"Name a town. Number {number}."} for number in range(rows)]
    finished: list[Any] = []

    def restart() -> None:
        if isinstance(server, LocalEndpoint):
            server.close()
        else:
            server.kill()
        server.start()

    restarts = threading.Thread(target=restart)

    def count(row: Any) -> None:
        finished.append(row)
        if len(finished) == rows // 3:
            restarts.start()

    with InferenceEndpointsLLM(**settings | {"wait_ready": 900.0, "max_concurrency": 8}) as llm:
        done = generate_dataset(
            llm, prompts, output, on_row=count, max_new_tokens=16, temperature=0.0
        )
    restarts.join()
    assert (done.summary.ok, done.summary.failed) == (rows, 0)
    assert len(finished) == rows
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert all(row["generation"] and not row["error"] for row in written)
