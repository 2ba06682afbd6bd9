"""The flags that say what is put up with: each reaches the run, from a flag or from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command import rows_of, run, write_rows

from distilabel_endpoints.testing import Fault, Rewrite, SimulatedEndpoint, Throttle, edits

Make = Callable[..., SimulatedEndpoint]


@pytest.mark.parametrize("by", ["flag", "file"])
def test_cut_off_answers_can_be_failures(simulated_endpoint: Make, tmp_path: Path, by: str) -> None:
    """`--on-length fail`: exit code 2, and every row says why."""
    endpoint = simulated_endpoint(faults=(Fault(Rewrite(edits.finished("length"))),))
    rows, output = write_rows(tmp_path / "rows.jsonl", 3), tmp_path / "out.jsonl"
    settings = tmp_path / "settings.toml"
    settings.write_text('on-length = "fail"\n')
    words = ["--on-length", "fail"] if by == "flag" else ["--config", str(settings)]
    done = run("generate", rows, "-o", output, "--base-url", endpoint.url, *words)
    assert done.returncode == 2, done.stderr
    assert all("cut off at max_new_tokens" in row["error"] for row in rows_of(output))


def test_cut_off_answers_can_be_asked_for_again(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`--on-length grow:2x`: whole texts, and another factor is another run."""
    endpoint = simulated_endpoint(reply=lambda _: " ".join("abcdefghij"))
    rows, output = write_rows(tmp_path / "rows.jsonl", 3), tmp_path / "out.jsonl"
    words = ("generate", rows, "-o", output, "--base-url", endpoint.url, "--max-new-tokens", "6")
    done = run(*words, "--on-length", "grow:2x")
    assert done.returncode == 0, done.stderr
    assert {row["generation"] for row in rows_of(output)} == {" ".join("abcdefghij")}
    assert {row["finish_reason"] for row in rows_of(output)} == {"stop"}
    assert len(endpoint.generations) == 6
    other = run(*words, "--on-length", "grow:3x")
    assert other.returncode == 1
    assert "on_length" in other.stderr
    assert run(*words).returncode == 1
    assert len(endpoint.generations) == 6


def test_a_pause_that_is_too_long_stops_the_run(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`--max-pause`: exit code 3, no row fails, and the same command resumes the run."""
    endpoint = simulated_endpoint(faults=(Fault(Throttle(30)),))
    rows, output = write_rows(tmp_path / "rows.jsonl", 3), tmp_path / "out.jsonl"
    words = ("generate", rows, "-o", output, "--base-url", endpoint.url, "--max-pause", "20")
    done = run(*words)
    assert done.returncode == 3, done.stderr
    assert "asks for a pause of 30 s" in " ".join(done.stderr.split())
    endpoint.clear_faults()
    assert run(*words).returncode == 0
    assert len(rows_of(output)) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--wake",), "wake is given without endpoint_name"),
        (("--ca-file", "nowhere.pem"), "nowhere.pem"),
        (("--max-pause", "0"), "--max-pause"),
        (("--on-length", "grow"), "--on-length"),
        (("--on-length", "grow:1x"), "'keep', 'fail', or 'grow:2x'"),
    ],
)
def test_wrong_values_are_usage(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """Exit code 1, before anything is sent."""
    rows = write_rows(tmp_path / "rows.jsonl", 1)
    url = "http://127.0.0.1:1"
    done = run("generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", url, *words)
    assert done.returncode == 1
    assert said in done.stderr
