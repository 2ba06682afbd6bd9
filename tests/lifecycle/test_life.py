"""A dedicated endpoint around a run, in Python and from the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from life_command import rows, run
from lifecycle_samples import CONTROL, KEY, TOKENS, Start, commands, deployment

import distilabel_endpoints
from distilabel_endpoints import InferenceEndpointsLLM, endpoint_life, generate_dataset
from distilabel_endpoints.errors import (
    AccessError,
    ConfigurationError,
    FingerprintError,
    ModelNotFoundError,
    StorageError,
)
from distilabel_endpoints.lifecycle.show import set_idle_minutes, show_endpoint
from distilabel_endpoints.testing import Deployment, Fault, Hardware, Respond, SimulatedEndpoint

HELLO = [{"role": "user", "content": "Hello world!"}]
Said = list[str]


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """State is kept in the test's own folder, and the token is ada's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HF_TOKEN", KEY)


def live(start: Start, state: str = "paused", **changes: Any) -> SimulatedEndpoint:
    """`ada/mine` in this state."""
    return start(tokens=TOKENS, deployment=deployment(state, **changes))


@contextmanager
def mine(name: str = "mine") -> Iterator[InferenceEndpointsLLM]:
    """An LLM on it, which is not loaded: that would start the endpoint."""
    with closing(InferenceEndpointsLLM(endpoint_name=name, endpoint_namespace="ada")) as llm:
        yield llm


@pytest.mark.parametrize(
    ("found", "then", "left", "told"),
    [
        ("paused", None, "paused", ["resume", "pause"]),
        ("paused", "restore", "paused", ["resume", "pause"]),
        ("scaledToZero", None, "scaledToZero", ["resume", "scale-to-zero"]),
        ("running", None, "running", []),
        ("running", "restore", "running", []),
        ("running", "pause", "paused", ["pause"]),
        ("running", "scale-to-zero", "scaledToZero", ["scale-to-zero"]),
        ("paused", "scale-to-zero", "scaledToZero", ["resume", "scale-to-zero"]),
        ("paused", "keep", "running", ["resume"]),
        ("running", "keep", "running", []),
    ],
)
def test_how_it_is_left(
    found: str, then: Any, left: str, told: list[str], simulated_hugging_face: Start
) -> None:
    """Asleep again if this woke it, untouched if it ran, and as the user says."""
    endpoint, said = live(simulated_hugging_face, found), Said()
    with mine() as llm, endpoint_life(llm, then, say=said.append):
        assert llm.generate([HELLO])[0][0]
    assert (endpoint.state, commands(endpoint)) == (left, told)
    assert "$4.80/h" in said[0]


def test_an_exception_puts_it_back(simulated_hugging_face: Start) -> None:
    """Whatever the block raises comes out as it was."""
    endpoint = live(simulated_hugging_face)

    def fails() -> None:
        with mine() as llm, endpoint_life(llm):
            llm.load()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert endpoint.state == "paused"


def test_what_somebody_changes_meanwhile_is_theirs(simulated_hugging_face: Start) -> None:
    """It stays as it is, and the user is told who changed it."""
    endpoint, said = live(simulated_hugging_face), Said()
    with mine() as llm, endpoint_life(llm, say=said.append):
        llm.load()
        endpoint.touch_deployment(by="bob")
    assert (endpoint.state, commands(endpoint)) == ("running", ["resume"])
    assert any("changed by bob" in line for line in said)


def test_who_pays_is_the_last_of_two(simulated_hugging_face: Start) -> None:
    """The run that woke it ends first: it is put back when the other one ends."""
    endpoint, said = live(simulated_hugging_face), Said()
    with mine() as llm:
        with endpoint_life(llm):
            with endpoint_life(llm, say=said.append):
                llm.load()
            # The inner one found it running, woken by the outer one, which still uses it.
            assert endpoint.state == "running"
            assert any("still used by" in line for line in said)
        endpoint.wait_for(lambda e: e.state == "paused", 30)
    assert commands(endpoint) == ["resume", "pause"]


def test_a_debt_of_a_run_that_is_gone_is_paid(
    simulated_hugging_face: Start, tmp_path: Path
) -> None:
    """Run and watchdog died with their container: the next run here restores what they had to."""
    endpoint = live(simulated_hugging_face)
    with mine() as llm:
        with endpoint_life(llm):
            pass
        (folder,) = (tmp_path / "state" / "distilabel-endpoints" / "endpoints").iterdir()
        with endpoint_life(llm, then="keep"):
            llm.load()
        assert endpoint.state == "running"
        raw_duty = duty_of_the_dead(folder)
        (folder / "duty").write_text(raw_duty)
        with endpoint_life(llm):
            pass
    assert endpoint.state == "paused"


def duty_of_the_dead(folder: Path) -> str:
    """The note of a run that started the endpoint as it is now."""
    from huggingface_hub import HfApi

    from distilabel_endpoints.lifecycle.decisions import Duty
    from distilabel_endpoints.lifecycle.lease import Lease
    from distilabel_endpoints.lifecycle.sight import sight_of

    raw = HfApi(token=KEY).get_inference_endpoint("mine", namespace="ada").raw
    mark = sight_of(raw, "ada").mark
    Lease(folder).note_duty(Duty(state="paused", mark=mark, owner=mark.by))
    return (folder / "duty").read_text()


def test_without_its_watchdog_the_run_does_it_itself(simulated_hugging_face: Start) -> None:
    """Somebody killed the watchdog: the endpoint is restored all the same."""
    endpoint = live(simulated_hugging_face)
    with mine() as llm, endpoint_life(llm):
        for process in psutil.process_iter(["cmdline", "environ"]):
            state = (process.info["environ"] or {}).get("XDG_STATE_HOME")
            if state == os.environ["XDG_STATE_HOME"] and process.pid != os.getpid():
                process.send_signal(signal.SIGKILL)
                process.wait(30)
    assert (endpoint.state, commands(endpoint)) == ("paused", ["resume", "pause"])


def test_a_lost_folder_of_locks_leaves_nothing_running(
    simulated_hugging_face: Start, tmp_path: Path
) -> None:
    """Somebody cleans up the folder in the middle of a run: it is put back all the same."""
    endpoint = live(simulated_hugging_face)
    with mine() as llm, endpoint_life(llm, log=tmp_path / "log"):
        shutil.rmtree(tmp_path / "state")
    assert (endpoint.state, commands(endpoint)) == ("paused", ["resume", "pause"])
    assert "without a lock" in (tmp_path / "log").read_text()


def test_nothing_is_started_without_a_watchdog(
    simulated_hugging_face: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Armed before waking: if it cannot be had, the endpoint stays asleep."""
    endpoint = live(simulated_hugging_face)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with mine() as llm, pytest.raises(StorageError, match="--then keep"), endpoint_life(llm):
        pass
    assert (endpoint.state, commands(endpoint)) == ("paused", [])


def test_a_start_that_is_refused_ends_the_run(simulated_hugging_face: Start) -> None:
    """The typed error of `load`, and nothing is left behind."""
    endpoint = live(simulated_hugging_face)
    endpoint.add_faults(Fault(Respond(403), path=f"{CONTROL}/resume"))
    with mine() as llm, pytest.raises(AccessError, match="may not start it"), endpoint_life(llm):
        pass
    assert endpoint.state == "paused"


def test_an_endpoint_that_is_not_there(simulated_hugging_face: Start) -> None:
    """The same error as without a life around it."""
    live(simulated_hugging_face)
    with mine("other") as llm, pytest.raises(ModelNotFoundError), endpoint_life(llm):
        pass


def test_other_targets_have_no_life(simulated_endpoint: Start) -> None:
    """Nothing is asked and nothing done; saying how to leave it is an error."""
    endpoint = simulated_endpoint()
    with closing(InferenceEndpointsLLM(base_url=endpoint.url)) as llm:
        with endpoint_life(llm) as life:
            assert life is None
        with pytest.raises(ConfigurationError, match="endpoint_name"), endpoint_life(llm, "pause"):
            pass
        wrong: Any = "delete"
        with pytest.raises(ConfigurationError, match="restore, pause"), endpoint_life(llm, wrong):
            pass
    assert endpoint.requests == ()


@pytest.mark.parametrize("state", ["paused", "scaledToZero", "running", "failed", "initializing"])
def test_looking_wakes_nothing(state: str, simulated_hugging_face: Start) -> None:
    """State, replicas, price, auto-scaling, and what a run would do: reads only."""
    endpoint = live(simulated_hugging_face, state, max_replica=4, wake_seconds=1e6)
    shown = show_endpoint("mine", None, None, as_json=False)
    assert commands(endpoint) == []
    assert endpoint.generations == ()
    assert endpoint.state == state
    for words in (f"state         {state}", "$19.20/h", "1 to 4 replicas", "a run "):
        assert words in shown
    values = json.loads(show_endpoint("mine", "ada", None, as_json=True))
    assert (values["state"], values["most_per_hour"]) == (state, pytest.approx(19.2))


@pytest.mark.parametrize("state", ["paused", "scaledToZero"])
def test_a_dry_run_wakes_nothing(state: str, tmp_path: Path) -> None:
    """The plan is shown from what the control plane tells; nothing is sent to the endpoint."""
    with SimulatedEndpoint(tokens=TOKENS, deployment=deployment(state)) as endpoint:
        inputs = rows(tmp_path / "rows.jsonl", 3)
        words = ["generate", inputs, "-o", tmp_path / "out.jsonl", "--endpoint-name", "mine"]
        done = run(endpoint, tmp_path / "state", *words, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "simulated-model" in done.stdout
        assert "a run starts it" in done.stderr
        assert endpoint.state == state
        assert {record.kind for record in endpoint.requests} <= {"control", "hub"}
        assert commands(endpoint) == []


def test_an_unknown_price_is_called_unknown(simulated_hugging_face: Start) -> None:
    """Before the start, in the command, and at the end."""
    live(simulated_hugging_face, hardware=Hardware(price_per_hour=None))
    said = Said()
    assert "price         not known" in show_endpoint("mine", None, None, as_json=False)
    with mine() as llm, endpoint_life(llm, say=said.append):
        llm.load()
    assert "not known" in said[0]
    assert "not known" in said[-1]


@pytest.mark.parametrize(
    ("idle", "warned"), [({}, True), ({"min_replica": 0, "scale_to_zero_minutes": 15}, False)]
)
def test_what_only_the_service_can_stop(
    idle: dict[str, Any], warned: bool, simulated_hugging_face: Start
) -> None:
    """A lost machine: warned where the endpoint would run on, with the command that helps."""
    live(simulated_hugging_face, **idle)
    said = Said()
    with mine() as llm, endpoint_life(llm, say=said.append):
        pass
    assert any("--scale-to-zero-after 15" in line for line in said) is warned


def test_scaling_to_zero_is_set_on_the_users_word_only(simulated_hugging_face: Start) -> None:
    """While it is paused; a running one would be deployed anew, so it is refused."""
    endpoint = live(simulated_hugging_face)
    assert "after 15 minutes" in set_idle_minutes("mine", "ada", None, 15)
    assert "after 15 minutes" in show_endpoint("mine", "ada", None, as_json=False)
    endpoint.put_state("running", by="ada")
    with pytest.raises(ConfigurationError, match="Pause it first"):
        set_idle_minutes("mine", "ada", None, 30)
    assert commands(endpoint) == ["PUT"]


@pytest.mark.parametrize("state", ["paused", "scaledToZero"])
def test_nothing_to_send_wakes_nothing(
    state: str, simulated_hugging_face: Start, tmp_path: Path
) -> None:
    """A run whose rows are all answered is finished again, and written again, from its journal."""
    endpoint, source = live(simulated_hugging_face, state), rows(tmp_path / "in.jsonl", 3)
    out = tmp_path / "out.jsonl"

    def again(**more: Any) -> tuple[int, list[str]]:
        with mine() as llm:
            done = generate_dataset(llm, source, out, max_new_tokens=4, **more)
        assert done.summary.exit_code == 0
        return done.summary.ok, commands(endpoint)

    count, told = again()
    assert (count, len(told)) == (3, 2)
    written = out.read_bytes()
    assert again() == (3, told), "the files are those of the finished run"
    os.utime(source)
    assert again() == (3, told), "the rows have the same content"
    out.unlink()
    assert again() == (3, told), "an output that is gone needs no model"
    assert out.read_bytes() == written
    assert again(limit=2) == (2, told)
    with source.open("a", encoding="utf-8") as file:
        file.write('{"prompt": "One more?"}\n')
    assert again() == (4, told * 2), "a row that has no answer needs it"


def test_other_settings_are_refused_by_a_sleeping_endpoints_run(
    simulated_hugging_face: Start, tmp_path: Path
) -> None:
    """That nothing is to be sent is not believed of a run with other settings."""
    live(simulated_hugging_face)
    source, out = rows(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with mine() as llm:
        generate_dataset(llm, source, out, max_new_tokens=4)
    with mine() as llm, pytest.raises(FingerprintError, match="max_new_tokens"):
        generate_dataset(llm, source, out, max_new_tokens=5)


def test_generate_dataset_leaves_it_as_it_was(
    simulated_hugging_face: Start, tmp_path: Path
) -> None:
    """A run from Python: woken, answered, paused again; with `keep` it runs on."""
    endpoint = live(simulated_hugging_face)
    with mine() as llm:
        generate_dataset(llm, ["one", "two"], tmp_path / "a.jsonl")
        assert endpoint.state == "paused"
        generate_dataset(llm, ["one", "two"], tmp_path / "b.jsonl", then="keep")
        assert endpoint.state == "running"
    assert commands(endpoint) == ["resume", "pause", "resume"]


def test_then_needs_an_endpoint(simulated_endpoint: Start, tmp_path: Path) -> None:
    """A wrong combination is an error before any request."""
    endpoint = simulated_endpoint()
    with (
        InferenceEndpointsLLM(base_url=endpoint.url) as llm,
        pytest.raises(ConfigurationError, match="endpoint_name"),
    ):
        generate_dataset(llm, ["one"], tmp_path / "a.jsonl", then="pause")
    assert endpoint.generations == ()


def test_the_command_line_shows_the_price_and_the_bill(tmp_path: Path) -> None:
    """What it costs and can cost before the start; at the end what it cost, to the cent."""
    with SimulatedEndpoint(
        tokens=TOKENS, deployment=deployment(wake_seconds=0.5, max_replica=4)
    ) as endpoint:
        inputs = rows(tmp_path / "rows.jsonl", 20)
        words = ["generate", inputs, "-o", tmp_path / "out.jsonl", "--endpoint-name", "mine"]
        done = run(endpoint, tmp_path / "state", *words)
        assert done.returncode == 0, done.stderr
        assert "$4.80/h a replica, at most 4 replicas: $19.20/h" in done.stderr
        assert "endpoint ada/mine is paused" in done.stderr
        assert f": ${endpoint.bill:,.2f}." in done.stderr
        assert commands(endpoint) == ["resume", "pause"]
        shown = run(endpoint, tmp_path / "state", "endpoint", "mine")
        assert shown.returncode == 0, shown.stderr
        assert "starts it and pauses it again at the end" in shown.stdout
        assert run(endpoint, tmp_path / "state", "endpoint", "none").returncode == 3


def test_the_flag_says_how_it_is_left(tmp_path: Path) -> None:
    """`--then` on the command line; an error before any request where it makes no sense."""
    with SimulatedEndpoint(tokens=TOKENS, deployment=deployment()) as endpoint:
        inputs, state = rows(tmp_path / "rows.jsonl", 5), tmp_path / "state"
        words = ["generate", inputs, "-o", tmp_path / "out.jsonl"]
        named = [*words, "--endpoint-name", "mine"]
        done = run(endpoint, state, *named, "--then", "scale-to-zero")
        assert done.returncode == 0, done.stderr
        assert (endpoint.state, commands(endpoint)) == ("scaledToZero", ["resume", "scale-to-zero"])
        asked = len(endpoint.requests)
        assert run(endpoint, state, *named, "--then", "delete").returncode == 1
        other = run(endpoint, state, *words, "--base-url", endpoint.url, "--then", "pause")
        assert (other.returncode, "endpoint_name" in other.stderr) == (1, True), other.stderr
        assert len(endpoint.requests) == asked


def test_forked_children_do_not_keep_it_running(simulated_hugging_face: Start) -> None:
    """A child that outlives the run holds neither the pipe nor the lock."""
    endpoint = live(simulated_hugging_face)
    with mine() as llm, endpoint_life(llm):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    endpoint.wait_for(lambda e: e.state == "paused", 30)
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)


def test_the_block_of_the_page_runs(
    simulated_hugging_face: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/endpoints.md as it stands, with an endpoint of that name."""
    asleep = Deployment("my-endpoint", namespace="ada", state="paused")
    endpoint = simulated_hugging_face(tokens=TOKENS, deployment=asleep)
    page = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(block, "endpoints.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out
    assert [record.path.rpartition("/")[2] for record in endpoint.requests].count("pause") == 1
    assert endpoint.state == "paused"


def test_it_is_public() -> None:
    """`from distilabel_endpoints import endpoint_life`."""
    assert "endpoint_life" in distilabel_endpoints.__all__
    found: Callable[..., Any] = distilabel_endpoints.endpoint_life
    assert found is endpoint_life
