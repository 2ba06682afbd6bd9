"""The canaries in everything that a run leaves and a caller sees, from the outermost layer."""

from __future__ import annotations

import logging
import pickle  # noqa: TID251 - dumped only, to look at the bytes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canaries import CUT, ECHO, PROMPT, TOKEN, everything_of
from command import run_code

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import RunError
from distilabel_endpoints.testing import Action, Fault, Reset, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

LOUD = (
    "import logging, sys; logging.basicConfig(level=logging.DEBUG);"
    "from distilabel_endpoints.cli import main; sys.exit(main())"
)
MISHAPS: dict[str, Action] = {
    "alpha": Respond(400, ECHO),
    "bravo": Respond(500, ECHO),
    "charlie": Reset(),
    "delta": Respond(422, f"{TOKEN}: {PROMPT}", content_type="text/plain"),
}


def loud(*words: object) -> tuple[int, str]:
    """A command whose every library logs all it has to say; its exit code and all its words."""
    done = run_code(LOUD, *words, HF_TOKEN=TOKEN)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.promise("S1")
@pytest.mark.promise("S2")
@pytest.mark.parametrize("client", ["hf", "openai"])
def test_a_run_leaves_no_canary(simulated_endpoint: Make, tmp_path: Path, client: str) -> None:
    """Messages with all logging on, journal, output, settings, dry run, status."""
    rows = tmp_path / "rows.jsonl"
    names = [*MISHAPS, "alpha", "delta", "fine"]  # one or two left rows would fail for themselves
    rows.write_text("".join(f'{{"prompt": "{name}: {PROMPT}"}}\n' for name in names))
    faults = tuple(
        Fault(
            action,
            marker=f"{name}: ",
            per_request=True,
            times=1 if name in {"bravo", "charlie"} else None,
        )
        for name, action in MISHAPS.items()
    )
    endpoint = simulated_endpoint(faults=faults, reply=lambda _: "A quiet answer.")
    output = tmp_path / "out.jsonl"
    settings = tmp_path / "run.toml"
    settings.write_text(f'base_url = "{endpoint.url}"\nclient = "{client}"\n')
    words = ["generate", rows, "-o", output, "--config", settings]
    planned, plan = loud(*words, "--dry-run")
    code, said = loud(*words)
    endpoint.clear_faults()
    endpoint.add_faults(Fault(Respond(402, ECHO)))
    stopped, reason = loud(*words)
    asked, status = loud("status", output)
    assert (planned, code, stopped, asked) == (0, 2, 3, 0)
    assert PROMPT in plan  # shown on purpose: the first request, to whoever gave it
    assert "DEBUG" in said
    assert {record.headers.get("authorization") for record in endpoint.generations} == {
        f"Bearer {TOKEN}"
    }
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert CUT.encode() in written.pop("rows.jsonl")
    assert CUT.encode() in written["out.jsonl"]  # the input's own column
    assert {"out.jsonl", "out.jsonl.journal"} <= written.keys()
    for text in [plan, said, reason, status, *map(repr, written.values())]:
        assert TOKEN not in text
    assert CUT not in status
    assert CUT.encode() not in written["out.jsonl.journal"]
    for line in (said + reason).splitlines():
        # What openai writes at DEBUG is the request, which is what DEBUG is for.
        assert CUT not in line or line.startswith("DEBUG:openai."), line


@pytest.mark.promise("S1")
@pytest.mark.parametrize("use_openai_client", [False, True])
@pytest.mark.parametrize(
    "action",
    [
        Respond(401, ECHO),
        Respond(402, ECHO),
        Respond(403, ECHO),
        Respond(404, ECHO),
        Respond(307, headers=(("Location", f"http://elsewhere.example/{TOKEN}"),)),
    ],
    ids=["401", "402", "403", "404", "307"],
)
def test_what_a_caller_catches_has_no_token(
    simulated_endpoint: Make,
    caplog: pytest.LogCaptureFixture,
    action: Action,
    use_openai_client: bool,
) -> None:
    """Neither the error, nor the frames it came through, nor the object, nor its pickle."""
    caplog.set_level(logging.DEBUG)
    endpoint = simulated_endpoint(faults=(Fault(action),))
    given: dict[str, Any] = {"base_url": endpoint.url, "api_key": TOKEN, "headers": {"X-K": TOKEN}}
    with InferenceEndpointsLLM(use_openai_client=use_openai_client, **given) as llm:
        with pytest.raises(RunError) as caught:
            llm.generate([[{"role": "user", "content": PROMPT}]])
        shown = [
            everything_of(caught.value),
            repr(llm),
            str(llm),
            repr(vars(llm)),
            repr(pickle.dumps(llm)),
            repr(pickle.dumps(caught.value)),
            repr(llm.dump()),
            llm.model_dump_json(),
            repr(llm.describe()),
            caplog.text,
        ]
    assert not [text for text in shown if TOKEN in text]
    assert CUT not in f"{caught.value} {caught.value!r} {pickle.dumps(caught.value)!r}"
