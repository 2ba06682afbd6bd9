"""A notebook for real: cells executed by IPython's kernel, before, during, interrupted, after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints.testing import Latency, SimulatedEndpoint

jupyter_client = pytest.importorskip("jupyter_client")
pytest.importorskip("ipykernel")

RUN = "done = generate_dataset(llm, rows, 'squares.jsonl', max_new_tokens=32)\ndone"
Shown = tuple[str, dict[str, Any]]


class Notebook:
    """A kernel, and what its cells show."""

    def __init__(self) -> None:
        self.kernel = jupyter_client.KernelManager()
        self.kernel.start_kernel()
        self._client = self.kernel.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def cell(self, code: str, watch: Callable[[str], None] = lambda text: None) -> list[Shown]:
        """Run a cell; everything that it shows, and `watch` with each text as it comes."""
        number = self._client.execute(code)
        shown: list[Shown] = []
        while True:
            message = self._client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != number:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                return shown
            if kind in {"display_data", "update_display_data", "execute_result", "error"}:
                shown.append((kind, content))
                watch(content.get("data", {}).get("text/plain", ""))

    def close(self) -> None:
        self._client.stop_channels()
        self.kernel.shutdown_kernel(now=True)
        self.kernel.cleanup_resources()


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """A new notebook in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    opened = Notebook()
    try:
        yield opened
    finally:
        opened.close()


def text_of(shown: Shown) -> str:
    return str(shown[1]["data"]["text/plain"])


def html_of(shown: Shown) -> str:
    return str(shown[1]["data"]["text/html"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_notebook_before_during_interrupted_and_after(notebook: Notebook) -> None:
    """Each cell shows what it is about in place; an interrupt ends the cell, and again resumes."""
    with SimulatedEndpoint(slots=4, latency=Latency(mean=0.3)) as endpoint:
        (before,) = notebook.cell(
            "from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset\n"
            f"llm = InferenceEndpointsLLM(base_url={endpoint.url!r}, max_concurrency=8)\n"
            "rows = [{'prompt': f'What is {n} times {n}?'} for n in range(80)]\n"
            "llm"
        )
        assert "Not connected yet" in html_of(before)
        (connected,) = notebook.cell("llm.describe()")
        assert "Connected to" in html_of(connected)
        assert "simulated-model" in html_of(connected)

        def interrupt(text: str) -> None:
            if "in flight" in text and "ETA" in text:
                notebook.kernel.interrupt_kernel()

        first, *later, error = notebook.cell(RUN, interrupt)
        assert first[0] == "display_data"
        assert {kind for kind, _ in later} == {"update_display_data"}
        assert any("ETA" in text_of(shown) for shown in later)
        assert "Interrupted: " in text_of(later[-1])
        assert error[0] == "error"
        assert error[1]["ename"] == "KeyboardInterrupt"
        lines = "\n".join(error[1]["traceback"]).splitlines()
        assert len(lines) <= 5
        assert "run this cell again" in lines[-1]
        asked = len(endpoint.generations)
        assert 0 < asked < 80

        *_, figures, result = notebook.cell(RUN)
        assert "Finished: 80 rows ok" in text_of(figures)
        assert "rows had been done before" in text_of(figures)
        assert len(endpoint.generations) == 80
        assert result[0] == "execute_result"
        assert "What is 0 times 0?" in html_of(result)
        assert "Finished" not in html_of(result), "the cell shows the figures already"
        (again,) = notebook.cell("done")
        assert "Finished: 80 rows ok" in html_of(again)
        (frame,) = notebook.cell("done.to_pandas()[['prompt', 'generation']].head(2)")
        assert "What is 1 times 1?" in text_of(frame)
        (outputs,) = notebook.cell(
            "llm.generate_outputs(inputs=[[{'role': 'user', 'content': 'hi'}]] * 2)"
        )
        assert "2 outputs" in html_of(outputs)
    (refused,) = notebook.cell(
        "InferenceEndpointsLLM(base_url='http://127.0.0.1:9').generate(\n"
        "    inputs=[[{'role': 'user', 'content': 'hi'}]])"
    )
    lines = "\n".join(refused[1]["traceback"]).splitlines()
    assert len(lines) <= 5
    assert lines[-1] == "Nothing listens there. Is the server started?"
