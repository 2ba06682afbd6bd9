"""What a notebook's cell shows of a run, of a call, and of the objects that a user holds."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_states import RUNNING, SUMMARIES

from distilabel_endpoints import FinishedRun, InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.errors import ConfigurationError, UnavailableError
from distilabel_endpoints.html_text import figures, table
from distilabel_endpoints.llms.outputs import Output, Outputs, Statistics
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.progress.call_bar import showing_call
from distilabel_endpoints.records import Failure, FailureKind, Result
from distilabel_endpoints.testing import SimulatedEndpoint

HOSTILE = "<script>alert(1)</script><img src=x onerror=y>"


class Handle:
    """Stands for IPython's `DisplayHandle`: keeps what was shown last."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.updates = 0

    def update(self, content: dict[str, str], **_: Any) -> None:
        """Replace what is shown."""
        self.shown = content
        self.updates += 1


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    """A kernel whose display is this handle."""
    handle = Handle()
    ipython: Any = types.ModuleType("IPython")

    def display(content: dict[str, str], **_: Any) -> Handle:
        handle.update(content)
        return handle

    ipython.get_ipython = object
    ipython.display = types.SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return handle


def test_a_run_is_shown_in_place_and_its_report_follows(handle: Handle) -> None:
    """Figures while it runs; the report takes their place, also after an interrupt."""
    stream = io.StringIO()
    with open_progress(stream=stream) as progress:
        progress.update(RUNNING)
        assert "rows" in handle.shown["text/plain"]
        progress.finish(SUMMARIES["interrupted"])
    assert "Interrupted" in handle.shown["text/html"]
    assert "To resume" in handle.shown["text/plain"]
    assert handle.updates == 2
    assert not stream.getvalue()


def test_a_display_that_fails_harms_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a front end nothing is shown, and nothing is raised."""
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = object
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with open_progress(stream=io.StringIO()) as progress:
        progress.update(RUNNING)
        progress.finish(SUMMARIES["finished"])


@pytest.mark.promise("S8")
def test_html_is_escaped_and_clipped() -> None:
    """A name, a column or an answer is shown as the text it is."""
    shown = figures(HOSTILE, {HOSTILE: HOSTILE * 100, "empty": None})
    shown += table(HOSTILE, [HOSTILE], [[HOSTILE]])
    assert "<script" not in shown
    assert "<img" not in shown
    assert "empty" not in shown
    assert len(shown) < 3000


def test_outputs_are_a_list_that_shows_as_a_table() -> None:
    """Answer, finish reason, tokens and error of each row; at most twenty rows."""
    good = Output(
        generations=[HOSTILE],
        statistics=Statistics(input_tokens=[1], output_tokens=[2]),
        finish_reasons=["stop"],
        errors=[None],
    )
    outputs = Outputs([good] * 30)
    assert outputs == [good] * 30
    shown = outputs._repr_html_()
    assert "30 outputs, the first 20" in shown
    assert "<script" not in shown


def test_a_finished_run_shows_figures_and_answers(tmp_path: Path) -> None:
    """The report, and the first three answers, escaped; it becomes a DataFrame too."""
    output = tmp_path / "out.jsonl"
    output.write_text(
        '{"prompt": "<b>Why?</b>", "generation": "Because.", "error": ""}\n'
        '{"prompt": "How?", "generation": null, "error": "no"}\n'
    )
    run = FinishedRun(SUMMARIES["finished_with_failures"], output)
    shown = run._repr_html_()
    assert "Failed rows" in shown
    assert "&lt;b&gt;Why?&lt;/b&gt;" in shown
    assert "Because." in shown
    assert run.to_pandas()["generation"].tolist()[0] == "Because."


def test_an_error_is_a_few_lines_with_the_cause_last() -> None:
    """The caller's line, and what happened and what to do; no line of ours."""
    failure = Failure(
        kind=FailureKind.UNAVAILABLE,
        message="refused: 127.0.0.1:1: Connection refused",
        hint="Is the server started?",
    )
    try:
        raise UnavailableError(failure)
    except UnavailableError as error:
        lines = error._render_traceback_()
    assert len(lines) <= 5
    assert "raise UnavailableError" in lines[0]
    assert lines[-2:] == [
        "UnavailableError: Cannot connect to 127.0.0.1:1: Connection refused",
        "Is the server started?",
    ]
    assert ConfigurationError("x")._render_traceback_()[-1] == "ConfigurationError: x"


def test_a_long_call_shows_a_bar_with_rate_and_failures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rows done, failures and rate, on standard error; a short call and progress=False: nothing."""
    good = Result(ordinal=0, completions=(None,), failures=(None,))
    bad = Result(
        ordinal=1,
        completions=(None,),
        failures=(Failure(kind=FailureKind.ROW, message="no"),),
    )
    with showing_call(2, wanted=True, delay=0.0) as counts:
        counts.add(good)
        counts.add(bad)
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "1 failed" in shown
    assert "row/s" in shown
    for wanted, delay in ((True, 60.0), (False, 0.0), (None, 0.0)):
        with showing_call(2, wanted=wanted, delay=delay) as counts:
            counts.add(good)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet", ".arrow", ".jsonl.gz"])
def test_a_finished_run_becomes_a_dataset_and_a_frame(
    suffix: str, tmp_path: Path, simulated_endpoint: Callable[..., SimulatedEndpoint]
) -> None:
    """Whatever format its output has."""
    with InferenceEndpointsLLM(base_url=simulated_endpoint().url) as llm:
        done = generate_dataset(llm, ["a", "b"], tmp_path / f"out{suffix}")
    dataset, frame = done.to_dataset(), done.to_pandas()
    assert dataset["prompt"][:] == frame["prompt"].tolist() == ["a", "b"]
    assert dataset["generation"][:] == frame["generation"].tolist()
    assert all(dataset["generation"][:])


def test_an_llm_shows_what_it_is_connected_to(
    simulated_endpoint: Callable[..., SimulatedEndpoint],
) -> None:
    """The target before it is loaded, server and model after; only what was given, never a key."""
    endpoint = simulated_endpoint(flavor="vllm")
    with InferenceEndpointsLLM(base_url=endpoint.url, api_key="s3cr3t") as llm:
        assert "vllm" in llm._repr_html_()
        assert "simulated-model" in llm.describe()._repr_html_()
        assert "in flight" in llm.statistics()._repr_html_()
        shown = llm._repr_html_() + repr(llm)
    idle = InferenceEndpointsLLM(base_url=endpoint.url, api_key="s3cr3t")
    shown += idle._repr_html_()
    assert "Not connected yet" in idle._repr_html_()
    assert "s3cr3t" not in shown
    assert repr(idle) == f"InferenceEndpointsLLM(base_url='{endpoint.url}')"


def test_a_call_takes_progress_and_gives_outputs(
    simulated_endpoint: Callable[..., SimulatedEndpoint],
) -> None:
    """`progress=False` is not a generation parameter; the list of outputs shows as a table."""
    inputs = [[{"role": "user", "content": "Hi"}]]
    with InferenceEndpointsLLM(base_url=simulated_endpoint().url) as llm:
        outputs = llm.generate_outputs(inputs, progress=False)
        assert isinstance(outputs, Outputs)
        assert llm.generate(inputs, progress=False) == [outputs[0]["generations"]]
