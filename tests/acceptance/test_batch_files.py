"""OpenAI batch files: what is read, sent, written, refused, and resumed."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_files import CHAT, line, read_lines, write_lines
from command import run, start

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.errors import ConfigurationError, InputError, OutputExistsError
from distilabel_endpoints.rows import open_rows
from distilabel_endpoints.rows.batch_lines import check_batch
from distilabel_endpoints.rows.batch_writer import errors_beside
from distilabel_endpoints.runs import export_run
from distilabel_endpoints.testing import Fault, Latency, Respond, SimulatedEndpoint
from distilabel_endpoints.testing.endpoint_settings import FLAVORS

Make = Callable[..., SimulatedEndpoint]
pytestmark = pytest.mark.usefixtures("default_signals")


def parameters(body: dict[str, Any]) -> dict[str, Any]:
    """Without nulls, and `stream: false`, which one client always says."""
    return {name: value for name, value in body.items() if value not in (None, False)}


@pytest.mark.parametrize("client", ["hf", "openai"])
@pytest.mark.parametrize("flavor", FLAVORS)
def test_bodies_are_sent_as_they_are(
    simulated_endpoint: Make, tmp_path: Path, flavor: str, client: str
) -> None:
    """Every server and client: each line's own parameters arrive, unknown ones too, none added."""
    pytest.importorskip("openai")
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    if flavor == "tgi":
        schema = {"type": "json_object", "value": {"type": "object"}}
    lines = [
        line(0),
        line(1, temperature=0.5, metadata={"a": [1]}, priority=-3),
        line(2, response_format=schema, max_tokens=400, user="me"),
        line(3, seed=5, stop=["END"], chat_template_kwargs={"enable_thinking": False}),
    ]
    source = write_lines(tmp_path / "batch.jsonl", lines)
    endpoint = simulated_endpoint(flavor=flavor)
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url,
        served_model="simulated-model",
        use_openai_client=client == "openai",
        stream=False,
    )
    done = generate_dataset(llm, source, tmp_path / "out.jsonl")
    assert (done.summary.ok, done.summary.failed) == (4, 0)
    sent = {record.body["messages"][0]["content"]: record.body for record in endpoint.generations}
    for each in lines:
        body = each["body"]
        assert parameters(sent[body["messages"][0]["content"]]) == body


def test_the_output_is_a_batch_output(simulated_endpoint: Make, tmp_path: Path) -> None:
    """In input order, in the shape of OpenAI's answers; text and counts are the server's."""
    endpoint = simulated_endpoint(flavor="vllm", reasoning=True)
    lines = [line(0, logprobs=True, top_logprobs=2), line(1, n=3)]
    source = write_lines(tmp_path / "batch.jsonl", lines)
    output = tmp_path / "out.jsonl"
    assert run("generate", source, "-o", output, "--base-url", endpoint.url).returncode == 0
    found = read_lines(output)
    assert list(found) == ["request-0", "request-1"]
    for each in found.values():
        assert list(each) == ["id", "custom_id", "response", "error"]
        assert each["error"] is None
        assert each["response"]["status_code"] == 200
        body = each["response"]["body"]
        assert body["object"] == "chat.completion"
        assert body["model"] == "simulated-model"
        usage = body["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    first = found["request-0"]["response"]["body"]["choices"][0]
    assert first["message"]["content"]
    assert first["message"]["reasoning"]
    assert len(first["logprobs"]["content"][0]["top_logprobs"]) == 2
    choices = found["request-1"]["response"]["body"]["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len(endpoint.generations) == 2
    assert (tmp_path / "out.errors.jsonl").read_bytes() == b""


def test_openais_own_types_read_the_output(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Bodies validate strictly as the client library's ChatCompletion and Completion."""
    types = pytest.importorskip("openai.types")
    endpoint = simulated_endpoint(flavor="vllm")
    kinds = {CHAT: types.chat.ChatCompletion, "/v1/completions": types.Completion}
    for url, kind in kinds.items():
        wanted = 2 if url == "/v1/completions" else True
        source = write_lines(tmp_path / "batch.jsonl", [line(0, url=url, logprobs=wanted)])
        output = tmp_path / f"{kind.__name__}.jsonl"
        words = ["--base-url", endpoint.url, "--client", "openai"]
        done = run("generate", source, "-o", output, *words)
        assert done.returncode == 0, done.stderr
        body = read_lines(output)["request-0"]["response"]["body"]
        read = kind.model_validate_json(json.dumps(body), strict=True)
        assert read.choices[0].logprobs is not None


def test_failures_go_to_the_error_file(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A refused line and a filtered answer: exit 2, kept with their reason, tried again later."""
    refused = Fault(Respond(400, {"error": {"message": "no such language"}}), marker="Question 3?")
    endpoint = simulated_endpoint(flavor="vllm", faults=(refused,))
    source = write_lines(tmp_path / "batch.jsonl", [line(n) for n in range(6)])
    output, errors = tmp_path / "out.jsonl", tmp_path / "failed.jsonl"
    words = ["generate", source, "-o", output, "--base-url", endpoint.url, "--error-file", errors]
    assert run(*words).returncode == 2
    assert "request-3" not in read_lines(output)
    (failed,) = read_lines(errors).values()
    assert failed["custom_id"] == "request-3"
    assert failed["response"]["status_code"] == 400
    assert "no such language" in failed["response"]["body"]["error"]["message"]
    assert "no such language" in failed["error"]["message"]
    endpoint.clear_faults()
    sent = len(endpoint.generations)
    assert run(*words).returncode == 0
    assert len(endpoint.generations) == sent + 1
    assert list(read_lines(output)) == [f"request-{n}" for n in range(6)]
    assert errors.read_bytes() == b""


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({**line(1), "custom_id": "request-0"}, "custom_id 'request-0' is that of line 1, too"),
        ({**line(1), "custom_id": ""}, "custom_id must be text, and not empty"),
        ({**line(1), "method": "GET"}, "method must be POST"),
        ({**line(1), "url": "/v1/embeddings"}, "url is '/v1/embeddings'; only"),
        ({**line(1), "url": ["/v1/completions"]}, "url is list; only"),
        (line(1, url="/v1/completions"), "url is /v1/completions, and /v1/chat/completions before"),
        (line(1, model="other"), "body.model is 'other', and 'simulated-model' before"),
        (line(1, model=None), "body.model must name the model"),
        (line(1, stream=True), "body.stream is set"),
        (line(1, messages=[]), "body.messages must be a list"),
        (line(1, messages=["hi"]), r"body.messages\[0\] must be an object with a role"),
        (line(1, n=0), "body.n must be an integer >= 1"),
        (line(1, max_tokens="8"), "body.max_tokens must be an integer >= 1"),
        ({**line(1), "body": None}, "body must be a JSON object"),
        ({"custom_id": "x", "body": {}}, "a line of a batch file needs 'method', 'url'"),
        ('{"custom_id": "x"', "JSON"),
    ],
)
def test_a_file_is_checked_before_its_first_line(
    simulated_endpoint: Make, tmp_path: Path, second: Any, message: str
) -> None:
    """One wrong line, and nothing is sent: the error has its number and what is wrong."""
    endpoint = simulated_endpoint()
    source = write_lines(tmp_path / "batch.jsonl", [line(0), second, line(2)])
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    with pytest.raises(InputError, match=rf"(?s)1 line of .*batch\.jsonl:2.*{message}"):
        generate_dataset(llm, source, tmp_path / "out.jsonl")
    assert endpoint.generations == ()
    assert not (tmp_path / "out.jsonl").exists()


def test_an_id_is_unique_in_all_files_of_a_folder(tmp_path: Path) -> None:
    """Also on the same line of two files: the error names both."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_lines(tmp_path / name / "batch.jsonl", [line(0)])
    with pytest.raises(
        InputError, match=r"b/batch\.jsonl:1.*'request-0' is that of a/batch\.jsonl:1"
    ):
        check_batch(open_rows(tmp_path))


def test_any_value_of_logprobs_is_the_servers_to_judge(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """A list in its place is sent as it is; nothing of ours fails over it."""
    llm = InferenceEndpointsLLM(base_url=simulated_endpoint().url)
    source = write_lines(tmp_path / "batch.jsonl", [line(0, logprobs=[]), line(1)])
    done = generate_dataset(llm, source, tmp_path / "out.jsonl")
    assert done.summary.ok + done.summary.failed == 2


@pytest.mark.parametrize(
    ("output", "errors"),
    [
        ("answers.jsonl", "answers.errors.jsonl"),
        ("qwen-0.5b.jsonl", "qwen-0.5b.errors.jsonl"),
        ("v1.2.ndjson.gz", "v1.2.errors.jsonl"),
        (".hidden.jsonl", ".hidden.errors.jsonl"),
    ],
)
def test_every_output_has_its_own_error_file(output: str, errors: str) -> None:
    """Only the format goes from the name: outputs that differ in a dot do not share the file."""
    assert errors_beside(Path(output)) == Path(errors)


def test_an_export_elsewhere_has_its_own_error_file(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """`export --to` leaves the run's two files as they are, and replaces nobody's."""
    refused = Fault(Respond(400, {"error": {"message": "no"}}), marker="Question 1?")
    llm = InferenceEndpointsLLM(base_url=simulated_endpoint(faults=(refused,)).url)
    source = write_lines(tmp_path / "batch.jsonl", [line(0), line(1)])
    output, errors = tmp_path / "out.jsonl", tmp_path / "out.errors.jsonl"
    generate_dataset(llm, source, output)
    failed = errors.read_bytes()
    errors.write_text("looked at")
    export_run(output, to=tmp_path / "copy.jsonl")
    assert (tmp_path / "copy.errors.jsonl").read_bytes() == failed
    assert errors.read_text() == "looked at"
    (tmp_path / "mine.errors.jsonl").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"mine\.errors\.jsonl is already there"):
        export_run(output, to=tmp_path / "mine.jsonl")
    assert (tmp_path / "mine.errors.jsonl").read_text() == "mine"
    assert not (tmp_path / "mine.jsonl").exists()


def test_the_flag_wins_over_the_bodies_model(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Bodies name the model that is asked; another one only on the user's word."""
    endpoint = simulated_endpoint(flavor="vllm")
    source = write_lines(tmp_path / "batch.jsonl", [line(n, model="gpt-4o") for n in range(3)])
    words = ["generate", source, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    refused = run(*words)
    assert refused.returncode == 1
    assert all(word in refused.stderr for word in ("gpt-4o", "simulated-model", "--served-model"))
    assert not endpoint.generations
    done = run(*words, "--served-model", "simulated-model")
    assert done.returncode == 0, done.stderr
    assert "simulated-model is asked instead" in done.stderr
    assert {record.body["model"] for record in endpoint.generations[-3:]} == {"simulated-model"}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"num_generations": 2}, "num_generations"),
        ({"system": "Be kind."}, "system"),
        ({"on_bad_row": "skip"}, "on_bad_row"),
    ],
)
def test_settings_beside_bodies_are_refused(
    simulated_endpoint: Make, tmp_path: Path, options: dict[str, Any], name: str
) -> None:
    """What would change a body, or be without effect, is an error that names it."""
    source = write_lines(tmp_path / "batch.jsonl", [line(0)])
    llm = InferenceEndpointsLLM(base_url=simulated_endpoint().url)
    with pytest.raises(ConfigurationError, match=name):
        generate_dataset(llm, source, tmp_path / "out.jsonl", **options)


def test_outputs_that_cannot_be_batch_files(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Another format, one name for both files, somebody's file: refused before the first request;
    an error file for rows that are not a batch, too."""
    endpoint = simulated_endpoint()
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    source = write_lines(tmp_path / "batch.jsonl", [line(0)])
    before = source.read_bytes()
    foreign = write_lines(tmp_path / "mine.jsonl", ["{}"])
    (tmp_path / "sub").mkdir()
    for output, errors, message in (
        ("out.parquet", None, "give .*out.jsonl"),
        ("out.jsonl", tmp_path / "out.jsonl", "the output and the error file"),
        ("out.jsonl", tmp_path / "sub" / ".." / "out.jsonl", "the output and the error file"),
        ("out.jsonl", source, "part of the input"),
        ("out.jsonl", tmp_path / "sub" / ".." / "batch.jsonl", "part of the input"),
        ("out.jsonl", foreign, "did not write it"),
        ("out.jsonl", tmp_path / "errors.txt", "must end in .jsonl"),
    ):
        with pytest.raises(InputError, match=message):
            generate_dataset(llm, source, tmp_path / output, error_file=errors)
    rows = [{"prompt": "hi"}]
    with pytest.raises(ConfigurationError, match="error_file"):
        generate_dataset(llm, rows, tmp_path / "rows.jsonl", error_file=tmp_path / "errors.jsonl")
    errors = tmp_path / "sub" / ".." / "batch.jsonl"
    with pytest.raises(InputError, match="part of the input"):
        generate_dataset(llm, source, tmp_path / "out.jsonl", error_file=errors, fresh=True)
    assert endpoint.generations == ()
    assert foreign.read_text() == "{}\n"
    assert source.read_bytes() == before


def test_a_server_with_one_choice_is_asked_again(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`n` on a server that gives one choice whatever is asked: the others are fetched."""
    endpoint = simulated_endpoint(flavor="tgi")
    source = write_lines(tmp_path / "batch.jsonl", [line(0, n=3, seed=1)])
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    generate_dataset(llm, source, tmp_path / "out.jsonl")
    body = read_lines(tmp_path / "out.jsonl")["request-0"]["response"]["body"]
    assert len({choice["message"]["content"] for choice in body["choices"]}) == 3


def test_dry_run_shows_a_body(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`--dry-run` says how the file is read and sends nothing."""
    endpoint = simulated_endpoint()
    source = write_lines(tmp_path / "batch.jsonl", [line(0, priority=-3)])
    words = ["generate", source, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    done = run(*words, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "read as an OpenAI batch file" in done.stdout
    assert '"priority": -3' in done.stdout
    assert endpoint.generations == ()


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("count", "kills"), [(400, 3), pytest.param(2_000, 10, marks=pytest.mark.prove)]
)
def test_kills(simulated_endpoint: Make, tmp_path: Path, count: int, kills: int) -> None:
    """SIGKILLed at random moments: no line lost, none twice, the bytes of a run left alone."""
    rng = random.Random(3)
    lines = [line(n, temperature=n % 3 / 2, priority=n) for n in range(count)]
    source = write_lines(tmp_path / "batch.jsonl", lines)
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.1, sigma=0.5))
    words = ["--base-url", endpoint.url, "--max-concurrency", "16"]
    killed = tmp_path / "killed.jsonl"
    for _ in range(kills):
        process = start("generate", source, "-o", killed, *words)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(0.1, 0.5) * count / kills / 100)
        process.kill()
        process.communicate()
    assert run("generate", source, "-o", killed, *words).returncode == 0
    whole = tmp_path / "whole.jsonl"
    assert run("generate", source, "-o", whole, *words).returncode == 0
    assert list(read_lines(whole)) == [f"request-{n}" for n in range(count)]
    assert killed.read_bytes() == whole.read_bytes()
