"""The router's providers over real Ray: one that is kept to, whichever worker asks; its price."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command import write_rows
from ray_command import start_job

from distilabel_endpoints.testing import HubModel, Latency, SimulatedEndpoint, Token

pytestmark = [
    pytest.mark.usefixtures("default_signals"),
    pytest.mark.prove,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in the driver's process
]

KEY = "hf_ada"
MODEL = HubModel(
    "org/open", providers=("novita", "together"), prices={"novita": (1.0, 2.0)}, contexts={}
)


def asked(hub: SimulatedEndpoint) -> Counter[str]:
    """How many requests went to each provider."""
    return Counter(str(record.body["model"]).partition(":")[2] for record in hub.generations)


def test_all_workers_keep_to_the_first_provider(tmp_path: Path, short_folder: str) -> None:
    """One request is the router's to place; every other row names who answered it, resumed too."""
    rows, out = write_rows(tmp_path / "in.jsonl", 300), tmp_path / "out"
    words = ["generate", rows, "-o", out, "--model-id", "org/open", "--provider", "sticky"]
    words += ["--max-new-tokens", 8, "--ray-actors", 3, "--json"]
    with SimulatedEndpoint(
        tokens=(Token(KEY, user="ada"),), models=(MODEL,), latency=Latency(0.02)
    ) as hub:
        for more in (["--limit", 100], []):
            driver = start_job(hub, tmp_path, short_folder, KEY, *words, *more)
            shown, errors = driver.communicate(timeout=240)
            assert driver.returncode == 0, errors
        first = pq.read_table(out)["provider"].unique().to_pylist()
        assert len(first) == 1
        assert asked(hub) == {"": 1, first[0]: 299}
    last = json.loads(shown.splitlines()[-1])
    assert last["ok"] == 300
