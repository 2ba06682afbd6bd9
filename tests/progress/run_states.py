"""The states of a run that displays are tested with."""

from __future__ import annotations

from dataclasses import replace

from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.run_state import (
    FailureGroup,
    Rates,
    RunEnding,
    RunPhase,
    RunSnapshot,
    RunSummary,
    TokenCount,
    Waiting,
)

RUNNING = RunSnapshot(
    elapsed=312.4,
    phase=RunPhase.RUNNING,
    total=10_000,
    rows_read=4_251,
    ok=4_111,
    failed=12,
    in_flight=64,
    limit=64,
    limit_reason="plateau",
    tokens=TokenCount(input_tokens=1_200_345, output_tokens=4_512_345),
    run_tokens=TokenCount(input_tokens=1_200_345, output_tokens=4_512_345),
    recent=Rates(rows=14.2, output_tokens=8_120.0),
    mean=Rates(rows=13.1, output_tokens=7_904.0),
    retries={FailureKind.TRANSIENT: 3, FailureKind.THROTTLE: 12},
    eta=413.9,
)

SNAPSHOTS: dict[str, RunSnapshot] = {
    "scanning": RunSnapshot(elapsed=2.0, phase=RunPhase.SCANNING, rows_read=120_000),
    "running": RUNNING,
    "resumed": replace(
        RUNNING,
        resumed=1_000,
        skipped=3,
        run_tokens=TokenCount(input_tokens=1_500_345, output_tokens=5_612_345),
    ),
    "unknown_total": replace(RUNNING, total=None, eta=None),
    "throttled": replace(
        RUNNING,
        in_flight=48,
        limit=48,
        limit_reason="refused",
        waiting=Waiting("throttled, limit 64 to 48", elapsed=4.0),
    ),
    "starting": RunSnapshot(
        elapsed=135.0,
        phase=RunPhase.WAITING,
        total=10_000,
        rows_read=32,
        in_flight=1,
        limit=8,
        limit_reason="start",
        retries={FailureKind.UNAVAILABLE: 40},
        waiting=Waiting("endpoint starting", elapsed=130.0),
    ),
    "looking": RunSnapshot(
        elapsed=14.0,
        phase=RunPhase.WAITING,
        waiting=Waiting("http://127.0.0.1:8099 is not ready (at most 900 s)", elapsed=12.0),
    ),
    "cut": replace(RUNNING, in_flight=236, limit=32, limit_reason="too many at once"),
    "draining": replace(RUNNING, phase=RunPhase.DRAINING, in_flight=13, drain_left=24.6),
}

_LONG = FailureGroup(
    kind=FailureKind.ROW,
    code="context_length_exceeded",
    status=400,
    message=(
        "This model's maximum context length is 4096 tokens. However, you requested 5231 tokens "
        "(5103 in the messages, 128 in the completion). Please reduce the length of the messages "
        "or completion, or choose another model with a longer context, such as one of those in "
        "our list of models."
    ),
    hint="Shorten the conversation or lower max_new_tokens.",
    count=87,
    example_ordinal=812,
    example_source="prompts.jsonl:813, byte 204801",
)
_CRASH = FailureGroup(
    kind=FailureKind.TRANSIENT,
    status=500,
    message="CUDA error: device-side assert triggered",
    count=25,
    example_ordinal=4_001,
)

FINISHED = RunSummary(
    ending=RunEnding.FINISHED,
    exit_code=0,
    ok=10_000,
    answers=10_000,
    elapsed=760.2,
    tokens=TokenCount(input_tokens=2_900_345, output_tokens=9_512_345),
    run_tokens=TokenCount(input_tokens=2_900_345, output_tokens=9_512_345),
    mean=Rates(rows=13.1, output_tokens=12_512.0),
    output="out.jsonl",
    journal="out.jsonl.journal",
)

COMMAND = (
    "distilabel-endpoints",
    "generate",
    "prompts.jsonl",
    "-o",
    "out.jsonl",
    "--model-id",
    "mistralai/Mistral-7B-Instruct-v0.2",
    "--max-new-tokens",
    "512",
)

SUMMARIES: dict[str, RunSummary] = {
    "finished": FINISHED,
    "finished_with_failures": replace(
        FINISHED,
        exit_code=2,
        ok=9_876,
        failed=112,
        skipped=12,
        resumed=1_000,
        answers=9_876,
        truncated=1_204,
        failures=(_LONG, _CRASH),
        run_tokens=TokenCount(input_tokens=3_900_345, output_tokens=11_512_345),
        damaged_records=1,
        duplicate_ids=37,
    ),
    "stopped_by_endpoint": replace(
        FINISHED,
        ending=RunEnding.ENDPOINT,
        exit_code=3,
        ok=5_119,
        pending=4_881,
        answers=5_119,
        reason=(
            "run 401: the token was rejected at row 5,120 (it was accepted until then). "
            "Hint: Set HF_TOKEN or api_key to a valid one and run again."
        ),
        output=None,
        resume_command=COMMAND,
    ),
    "interrupted": replace(
        FINISHED,
        ending=RunEnding.INTERRUPTED,
        exit_code=130,
        ok=5_119,
        failed=1,
        pending=None,
        answers=5_119,
        failures=(replace(_CRASH, count=1),),
        output=None,
        resume_command=COMMAND,
    ),
    "stopped_by_storage": replace(
        FINISHED,
        ending=RunEnding.STORAGE,
        exit_code=4,
        ok=1,
        pending=9_999,
        answers=1,
        reason="out.jsonl.journal: no space left on the device. Make room and run again.",
        elapsed=4.2,
        output=None,
        resume_command=COMMAND,
    ),
}
