"""A worker's reports, what the coordinator makes of them, and what is shown of it all."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import ray.data
from command import run

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints._store.store import StoreStatistics
from distilabel_endpoints.errors import ConfigurationError, RunError
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.quality.alarms import Closed
from distilabel_endpoints.quality.cohorts import Shares
from distilabel_endpoints.quality.flaws import Flaw
from distilabel_endpoints.ray.cluster import cluster
from distilabel_endpoints.ray.coordinator import Coordinator, JobProgress, WorkerCounts
from distilabel_endpoints.ray.following import Following
from distilabel_endpoints.ray.reporting import Reporter, WorkerTally
from distilabel_endpoints.ray.shares import SILENCE, Share, WorkerReport
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage
from distilabel_endpoints.runs.tally import Tally
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
REFUSED = Failure(kind=FailureKind.ROW, status=400, message="row 7 is bad", text="secret text")


class RayError(Exception):
    """Stands for Ray's."""


class ActorDiedError(RayError):
    """Stands for Ray's, for good."""


class Stub:
    """A coordinator and a Ray without processes: keeps reports, answers with what it is given."""

    def __init__(self) -> None:
        self.reports: list[WorkerReport] = []
        self.share: Share | None = None
        self.report = SimpleNamespace(remote=self._report)
        self.exceptions = SimpleNamespace(RayError=RayError, ActorDiedError=ActorDiedError)
        self.is_dead = False
        self.coordinator: Coordinator | None = None
        self.note_closed = SimpleNamespace(remote=self._note_closed)
        self.is_lost = False
        """Whether the answer to what closed gets lost."""

    def _note_closed(self, worker: str, first: int, cohorts: list[Closed]) -> bool | None:
        assert self.coordinator is not None
        self.coordinator.note_closed(worker, first, cohorts)
        return None if self.is_lost else True

    def remake(self) -> Stub:
        """A coordinator that is alive."""
        self.is_dead = False
        return self

    def _report(self, worker: str, report: WorkerReport, counts: WorkerCounts) -> Share | None:
        self.reports.append(report)
        return self.share

    def get(self, answer: Any, timeout: float) -> Any:
        if self.is_dead:
            raise ActorDiedError
        if answer is None:
            raise RayError
        return answer


@pytest.fixture
def reporting(simulated_endpoint: Make) -> Iterator[tuple[Stub, InferenceEndpointsLLM, Reporter]]:
    """A reporter over a real engine, before its first report."""
    llm = InferenceEndpointsLLM(base_url=simulated_endpoint(flavor="vllm").url, max_concurrency=8)
    stub = Stub()
    reporter = Reporter(stub, "me", engine_of(llm), shares=True, remake=stub.remake)
    reporter._ray = stub
    yield stub, llm, reporter
    reporter.close()


def in_flight_limit(llm: InferenceEndpointsLLM) -> int | None:
    return engine_of(llm).scheduler._pool.ceiling


def test_nothing_may_be_sent_before_there_is_a_share(
    reporting: tuple[Stub, InferenceEndpointsLLM, Reporter],
) -> None:
    """An unanswered first report leaves a share of nothing; an answer is obeyed."""
    stub, llm, reporter = reporting
    reporter.start()
    assert in_flight_limit(llm) == 0
    stub.share = Share(ceiling=5, pauses={})
    reporter.report()
    assert in_flight_limit(llm) == 5
    reporter.report()
    assert stub.reports[-1].holding == 5


def test_a_silent_coordinator_ends_the_sending(
    reporting: tuple[Stub, InferenceEndpointsLLM, Reporter],
) -> None:
    """Half a lease without an answer, and nothing more is sent."""
    stub, llm, reporter = reporting
    stub.share = Share(ceiling=5, pauses={})
    reporter.report()
    stub.share = None
    reporter.report()
    assert in_flight_limit(llm) == 5
    reporter._answered_at -= SILENCE + 1
    reporter.report()
    assert in_flight_limit(llm) == 0


def test_a_coordinator_that_has_ended_is_made_anew(
    reporting: tuple[Stub, InferenceEndpointsLLM, Reporter],
) -> None:
    """Its worker had to wait for ever; another one gives it a share."""
    stub, llm, reporter = reporting
    stub.share, stub.is_dead = Share(ceiling=5, pauses={}), True
    reporter.start()
    assert in_flight_limit(llm) == 0
    reporter.report()
    assert in_flight_limit(llm) == 5


def test_only_a_workers_own_pauses_are_reported(
    reporting: tuple[Stub, InferenceEndpointsLLM, Reporter],
) -> None:
    """A pause that others told of is obeyed and not passed on; one of our own is."""
    stub, llm, reporter = reporting
    scheduler = engine_of(llm).scheduler
    name = scheduler._pool.members[0].name
    stub.share = Share(ceiling=5, pauses={name: 30.0})
    reporter.report()
    reporter.report()
    assert stub.reports[-1].pauses == {}
    scheduler._pool.members[0].limiter.pause(scheduler.loop.time() + 90.0)
    reporter.report()
    told = stub.reports[-1].pauses
    assert 80 < told[name] <= 90


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_row_is_judged_by_what_other_workers_are_answered(
    status: int, simulated_endpoint: Make
) -> None:
    """A refusal is the row's own if another worker has answers; without any it is the run's."""
    refuses = Fault(Respond(status, {"error": "not for this one"}), every=1)
    endpoint = simulated_endpoint(flavor="vllm", faults=(refuses,))
    for answered in (0, 7):
        with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=8) as llm:
            stub = Stub()
            stub.share = Share(ceiling=5, pauses={}, answered_by_others=answered)
            reporter = Reporter(stub, "me", engine_of(llm), shares=True, remake=stub.remake)
            reporter._ray = stub
            reporter.report()
            if answered:
                (output,) = llm.generate_outputs([[{"role": "user", "content": "Hello?"}]])
                assert output["generations"] == [None]
                continue
            with pytest.raises(RunError):
                llm.generate_outputs([[{"role": "user", "content": "Hello?"}]])


def test_the_coordinator_tells_each_worker_of_the_others_answers() -> None:
    """Those of other workers and of earlier jobs, not its own."""
    coordinator = Coordinator(None, reconstructed=False)
    report = WorkerReport(holding=0, demand=0)
    coordinator.report("a", report, WorkerCounts(ok=5))
    assert coordinator.report("a", report, WorkerCounts(ok=6)).answered_by_others == 0
    assert coordinator.report("b", report, WorkerCounts(ok=2)).answered_by_others == 6
    coordinator.note_answered(100)
    share = coordinator.report("a", report, WorkerCounts(ok=6))
    assert (share.answered_before, share.answered_by_others) == (100, 2)


def test_a_cohort_is_reported_until_it_is_confirmed_and_counts_once(
    reporting: tuple[Stub, InferenceEndpointsLLM, Reporter],
) -> None:
    """A report whose answer is lost is repeated, and the coordinator keeps one of both."""
    stub, _, reporter = reporting
    coordinator = Coordinator(None, reconstructed=False)
    stub.share, stub.coordinator = Share(ceiling=5, pauses={}), coordinator
    cohorts = [Closed(Shares(answers=50, flaws=Counter({Flaw.EMPTY: n})), {}) for n in range(3)]
    reporter.closed(cohorts[0])
    stub.is_lost = True
    reporter.report()
    reporter.closed(cohorts[1])
    stub.is_lost = False
    reporter.report()
    assert coordinator.take_closed() == cohorts[:2]
    reporter.closed(cohorts[2])
    reporter.report()
    reporter.report()
    assert coordinator.take_closed() == cohorts[2:]


def test_an_end_that_the_coordinator_tells_of_is_obeyed_once(simulated_endpoint: Make) -> None:
    """What is in flight has the seconds that the driver gives it."""
    heard: list[float] = []
    with InferenceEndpointsLLM(base_url=simulated_endpoint(flavor="vllm").url) as llm:
        stub = Stub()
        reporter = Reporter(
            stub, "me", engine_of(llm), shares=False, remake=stub.remake, drain=heard.append
        )
        reporter._ray = stub
        for drain in (None, 30.0, 30.0):
            stub.share = Share(ceiling=None, pauses={}, drain=drain)
            reporter.report()
    assert heard == [30.0]


def result(ordinal: int, failure: Failure | None = None) -> Result:
    completion = None if failure else Completion(text="t", finish_reason="length")
    return Result(
        ordinal=ordinal,
        completions=(completion,),
        failures=(failure,),
        usages=() if failure else (Usage(2, 3),),
    )


def test_a_tally_counts_rows_and_tokens(
    reporting: tuple[Stub, InferenceEndpointsLLM, Reporter],
) -> None:
    """What a worker has done is counted as the run without Ray counts it."""
    _, llm, _ = reporting
    tally = WorkerTally()
    for n in range(3):
        tally.add(result(n))
    tally.add(result(7, REFUSED))
    counts = tally.counts(llm.statistics())
    assert (counts.ok, counts.failed, counts.answers, counts.truncated) == (3, 1, 3, 3)
    assert (counts.input_tokens, counts.output_tokens) == (6, 9)


def counted(tally: WorkerTally, llm: InferenceEndpointsLLM) -> WorkerCounts:
    return tally.counts(llm.statistics())


def test_the_coordinator_keeps_what_workers_said() -> None:
    """Counts replace a worker's earlier ones; the first failure that ends the run stays."""
    coordinator = Coordinator(10, reconstructed=False)
    share = coordinator.report("a", WorkerReport(holding=0, demand=9), WorkerCounts(ok=1))
    assert share.ceiling == 10
    coordinator.report("a", WorkerReport(holding=10, demand=9), WorkerCounts(ok=2))
    coordinator.report("b", WorkerReport(holding=0, demand=9), WorkerCounts(ok=5))
    coordinator.stop(REFUSED)
    coordinator.stop(Failure(kind=FailureKind.RUN, message="later"))
    told = coordinator.progress()
    assert sorted(c.ok for c in told.counts) == [2, 5]
    assert told.stopped is not None
    assert (told.stopped.message, told.stopped.text) == ("row 7 is bad", None)


def test_a_remade_coordinator_lets_nobody_grow() -> None:
    """After it was lost, workers keep what they hold."""
    coordinator = Coordinator(10, reconstructed=True)
    assert coordinator.report("a", WorkerReport(holding=3, demand=99), WorkerCounts()).ceiling == 3


def test_figures_add_up(
    reporting: tuple[Stub, InferenceEndpointsLLM, Reporter],
) -> None:
    """Done before and done now, by all workers, are shown together."""
    _, llm, _ = reporting
    tallies = [WorkerTally(), WorkerTally()]
    for tally in tallies:
        tally.add(result(1))
        tally.add(result(7, REFUSED))
    counts = tuple(counted(tally, llm) for tally in tallies)
    following = Following(Tally())
    following.begin(100, StoreStatistics(ok=40, input_tokens=80, output_tokens=120))
    following.update(JobProgress(counts=counts, live=counts, stopped=None))
    shown = following.snapshot()
    assert (shown.ok, shown.failed, shown.resumed, shown.total) == (42, 2, 40, 100)
    assert shown.run_tokens.output_tokens == 126
    assert shown.tokens.output_tokens == 6


@pytest.mark.parametrize(
    "words",
    [
        ["--ray", "--dry-run"],
        ["--ray", "--local"],
        ["--ray", "--push-to-hub", "a/b"],
        ["--ray-actors", "3"],
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, words: list[str]) -> None:
    """Each is named before anything is read, loaded or sent."""
    where = [] if "--local" in words else ["--base-url", "http://127.0.0.1:1"]
    done = run("generate", "nothing.jsonl", "-o", tmp_path / "out", *words, *where)
    assert done.returncode == 1
    assert "--ray" in done.stderr


def test_an_input_of_which_nothing_can_be_sent(tmp_path: Path) -> None:
    """An error that shows its rows, before Ray starts; so is an error file without a batch."""
    rows = tmp_path / "in.jsonl"
    rows.write_text('{"prompt": 7}\n{"prompt": null}\nnot json\n', encoding="utf-8")
    with SimulatedEndpoint(flavor="vllm") as endpoint:
        words = ("generate", rows, "-o", tmp_path / "out", "--base-url", endpoint.url, "--ray")
        done = run(*words)
        assert done.returncode == 1
        assert "none of the 3 rows" in done.stderr
        assert "not int" in done.stderr
        rows.write_text('{"prompt": "fine"}\n{"prompt": 7}\n', encoding="utf-8")
        done = run(*words, "--on-bad-row", "stop")
        assert done.returncode == 1
        assert "1 row cannot be sent" in done.stderr
        done = run(*words, "--error-file", tmp_path / "errors.jsonl")
        assert (done.returncode, "is for OpenAI batch files" in done.stderr) == (1, True)
        assert not endpoint.generations
    assert not (tmp_path / "out").exists()


def test_standard_input_and_file_names_are_refused(tmp_path: Path) -> None:
    """Workers cannot read the driver's standard input, and shards make a folder."""
    to = ["--base-url", "http://127.0.0.1:1", "--ray"]
    done = run("generate", "-", "-o", tmp_path / "out", *to)
    assert (done.returncode, "standard input" in done.stderr) == (1, True)
    done = run("generate", "in.jsonl", "-o", tmp_path / "out.jsonl", *to)
    assert (done.returncode, "folder" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ray_actors": 2}, "needs ray"),
        ({"ray": "local", "push_to_hub": "a/b"}, "hf upload"),
        ({"ray": "local"}, "a path that workers can read"),
    ],
)
def test_what_does_not_fit_is_refused_from_python(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    """The same from Python, where a list of rows is refused too."""
    given: Any = [{"prompt": "a"}] if more == {"ray": "local"} else "in.jsonl"
    llm = InferenceEndpointsLLM(base_url="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=said):
        generate_dataset(llm, given, tmp_path / "out", **more)


@pytest.mark.parametrize("rows", [pd.DataFrame({"prompt": ["a", "b"]}), np.array(["a", "b"])])
def test_rows_in_memory_are_refused_over_ray(tmp_path: Path, rows: Any) -> None:
    """Whatever holds them: also an object that compares its cells one by one."""
    llm = InferenceEndpointsLLM(base_url="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=f"of type {type(rows).__name__}. Save it"):
        generate_dataset(llm, rows, tmp_path / "out", ray="local")


@pytest.mark.usefixtures("default_signals")
def test_a_program_keeps_its_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray installs a handler that aborts the process; the run's own, which drains, is put back."""

    def init(**_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def drain(*_: Any) -> None:
        pass

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    signal.signal(signal.SIGTERM, drain)
    with cluster(None, cpus=1):
        assert signal.getsignal(signal.SIGTERM) is drain
