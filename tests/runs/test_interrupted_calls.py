"""What Ctrl-C and its kin do to a script, and what they leave in its hands."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Started, environment, started

from distilabel_endpoints.testing import Latency, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

pytestmark = pytest.mark.usefixtures("default_signals")

SCRIPT = """
import json, os, signal, sys
from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset

URL, OUTPUT, MODE = sys.argv[1:]
if MODE.startswith("ignore"):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
rows = [{"prompt": f"Question {n}?"} for n in range(40)]
llm = InferenceEndpointsLLM(base_url=URL, max_concurrency=4)
print("ready", flush=True)
try:
    if MODE.endswith("generate"):
        llm.generate([[{"role": "user", "content": row["prompt"]}] for row in rows])
    else:
        generate_dataset(llm, rows, OUTPUT)
except (KeyboardInterrupt, SystemExit) as error:
    if MODE == "generate":
        kept = [texts for texts in error.outputs if texts is not None]
        print(json.dumps([len(error.outputs), len(kept), isinstance(kept[0][0], str)]))
    else:
        print(json.dumps([error.summary.ok, error.summary.pending]))
    raise
finally:
    print("cleared up", flush=True)
print("the next line")
"""


def begun(endpoint: SimulatedEndpoint, output: Path, mode: str = "") -> Started:
    """The script, when some of its rows are answered and some are in flight."""
    process = started([endpoint.url, str(output), mode], environment(), SCRIPT)
    endpoint.wait_for(lambda e: e.statistics().requests >= 12, 30)
    return process


def test_an_interrupted_run_ends_the_script(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Ctrl-C drains, the next line does not run, and Python dies of SIGINT as shells expect it."""
    endpoint = simulated_endpoint(latency=Latency(0.3))
    process = begun(endpoint, tmp_path / "out.jsonl")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    _, counts, *rest = out.splitlines()
    ok, pending = json.loads(counts)
    assert rest == ["cleared up"]
    assert process.returncode == -signal.SIGINT
    assert "run this cell again" in err
    assert not [record for record in endpoint.generations if record.aborted]
    assert (ok, pending) == (len(endpoint.generations), 40 - len(endpoint.generations))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_run_clears_up(
    simulated_endpoint: Make, tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM and SIGHUP drain too; `finally` runs, and the exit status is 128 + n."""
    endpoint = simulated_endpoint(latency=Latency(0.3))
    process = begun(endpoint, tmp_path / "out.jsonl")
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "cleared up"
    assert process.returncode == 128 + number
    assert not [record for record in endpoint.generations if record.aborted]


def test_an_interrupted_generate_keeps_what_was_answered(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """`outputs` of the exception: one entry for each input, None for those that were not done."""
    endpoint = simulated_endpoint(latency=Latency(0.3))
    process = begun(endpoint, tmp_path / "unused", "generate")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    total, kept, is_text = json.loads(out.splitlines()[1])
    assert total == 40
    assert 4 <= kept < 40
    assert is_text
    assert process.returncode == -signal.SIGINT


def test_an_ignored_signal_stays_ignored(simulated_endpoint: Make, tmp_path: Path) -> None:
    """As under `nohup` and in a background job: SIGINT and SIGHUP do nothing, SIGTERM drains."""
    endpoint = simulated_endpoint(latency=Latency(0.3))
    process = begun(endpoint, tmp_path / "out.jsonl", "ignore")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGHUP)
    sent = endpoint.statistics().requests
    endpoint.wait_for(lambda e: e.statistics().requests > sent + 8, 30)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "cleared up"
    assert process.returncode == 128 + signal.SIGTERM
