"""docs/extending.md: its programs run."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_page_runs(
    simulated_endpoint: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    block: str,
) -> None:
    """Each program does what it shows, against an endpoint in place of the one it names."""
    endpoint = simulated_endpoint(flavor="vllm")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hello world!"}\n')
    with caplog.at_level(logging.INFO):
        exec(block.replace("http://localhost:8080", endpoint.url), {"__name__": "page"})
    assert endpoint.generations
    if "Please." in block:
        assert endpoint.generations[0].body["messages"][-1]["content"] == "Hello world! Please."
    if "Logged" in block:
        assert "row 0: Answer" in caplog.text
