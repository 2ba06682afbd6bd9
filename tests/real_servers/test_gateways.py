"""What real gateways do to a run: limits, time-outs, certificates, keys, budgets, restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from benchmarks import real_servers
from restart import check_a_run_over_a_restart

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import (
    AuthenticationError,
    CreditError,
    TargetError,
    UnavailableError,
)
from distilabel_endpoints.local import LocalEndpoint
from distilabel_endpoints.testing import Latency, SimulatedEndpoint

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]

FEW: dict[str, Any] = {"max_new_tokens": 3, "temperature": 0.0}


def need(program: str) -> None:
    if not real_servers.is_installed(program):
        pytest.skip(f"{program} is not installed: apt-get install {program}")


def rows(count: int) -> list[list[dict[str, Any]]]:
    return [[{"role": "user", "content": f"Say {number}."}] for number in range(count)]


def refused_of(count: int, **settings: Any) -> int:
    """Requests that were refused on the way to an answer for each row."""
    with InferenceEndpointsLLM(**settings, generation_kwargs=FEW) as llm:
        outputs = llm.generate_outputs(rows(count))
        statistics = llm.statistics()
    assert [output["errors"] for output in outputs] == [[None]] * count
    return sum(statistics.retries.values())


@pytest.mark.parametrize("use_openai_client", [False, True])
@pytest.mark.parametrize(
    ("http", "directive"),
    [
        ("limit_conn_zone $binary_remote_addr zone=z:1m;", "limit_conn z 2;"),
        ("limit_req_zone $binary_remote_addr zone=z:1m rate=8r/s;", "limit_req zone=z nodelay;"),
        (
            "limit_req_zone $binary_remote_addr zone=z:1m rate=8r/s; limit_req_status 429;",
            "limit_req zone=z burst=3 nodelay;",
        ),
    ],
    ids=["connections", "rate", "rate-429"],
)
def test_nginx_limits(
    http: str, directive: str, use_openai_client: bool, local_endpoint: LocalEndpoint
) -> None:
    """Every row is answered, for less than one refused request a row."""
    need("nginx")
    server = f"listen LISTEN; location / {{ {directive} proxy_pass $upstream; }}"
    with real_servers.nginx(local_endpoint.base_url, server, http=http) as gateway:
        settings = {"base_url": gateway.base_url, "use_openai_client": use_openai_client}
        assert 0 < refused_of(120, **settings) < 120


def test_haproxy_full_queue() -> None:
    """The same for a page that says that no server is available, after a wait in a queue.

    Answers take a fixed time: how many refusals there are depends on how long they take beside
    that wait, which would be the speed of this machine if they were computed.
    """
    need("haproxy")
    limits = "MAXCONN 2\ntimeout queue 300ms"
    with (
        SimulatedEndpoint(latency=Latency(1.5)) as upstream,
        real_servers.haproxy(upstream.url, limits) as gateway,
    ):
        assert 0 < refused_of(120, base_url=gateway.base_url) < 120


def test_nginx_gives_up_on_slow_answers(local_endpoint: LocalEndpoint) -> None:
    """Streamed, a long answer gets through; not streamed, the error names that remedy."""
    need("nginx")
    server = "listen LISTEN; proxy_read_timeout 1s; location / { proxy_pass $upstream; }"
    story = [[{"role": "user", "content": "Count from 1 to 500, in words, without a break."}]]
    settings: dict[str, Any] = {"generation_kwargs": {"max_new_tokens": 300, "temperature": 0.0}}
    with real_servers.nginx(local_endpoint.base_url, server) as gateway:
        settings |= {"base_url": gateway.base_url, "wait_ready": 5.0}
        with InferenceEndpointsLLM(**settings, stream=True) as llm:
            assert llm.generate_outputs(story)[0]["errors"] == [None]
        with (
            InferenceEndpointsLLM(**settings, stream=False) as llm,
            pytest.raises(UnavailableError, match=r"504.*Stream the answers"),
        ):
            llm.generate(story)


@pytest.mark.parametrize("use_openai_client", [False, True])
def test_a_private_certificate(
    use_openai_client: bool, local_endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    """It is trusted when its authority is named; the error names the remedy when it is not."""
    need("nginx")
    authority = trustme.CA()
    names = ("authority.pem", "certificate.pem", "key.pem")
    pem, certificate, key = (tmp_path / name for name in names)
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(pem)
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(certificate, append=True)
    server = (
        f"listen LISTEN ssl; ssl_certificate {certificate}; ssl_certificate_key {key};"
        " location / { proxy_pass $upstream; }"
    )
    with real_servers.nginx(local_endpoint.base_url, server) as gateway:
        settings: dict[str, Any] = {
            "base_url": gateway.base_url,
            "use_openai_client": use_openai_client,
            "wait_ready": 1.0,
        }
        assert refused_of(4, **settings, ca_file=str(pem)) == 0
        with pytest.raises(TargetError, match="ca_file"):
            InferenceEndpointsLLM(**settings).load()


def test_litellm_wrong_key(local_endpoint: LocalEndpoint) -> None:
    """Without a database it answers 400 "No connected db.", which is a key that is not known."""
    upstream, served = local_endpoint.base_url, local_endpoint.model_name
    with (
        real_servers.litellm(upstream, served) as gateway,
        pytest.raises(AuthenticationError),
        InferenceEndpointsLLM(base_url=gateway.base_url, api_key="sk-wrong") as llm,
    ):
        llm.generate(rows(1))


def test_litellm_rate_limit(local_endpoint: LocalEndpoint) -> None:
    """A limit of requests a minute costs time and loses no row."""
    upstream, served = local_endpoint.base_url, local_endpoint.model_name
    with real_servers.litellm(upstream, served, rpm=30) as gateway:
        settings = {"base_url": gateway.base_url, "api_key": real_servers.MASTER_KEY}
        assert refused_of(50, **settings) < 100


def test_litellm_budget(local_endpoint: LocalEndpoint) -> None:
    """A budget that is used up ends the run as missing credit, not as a wait without end."""
    upstream, served = local_endpoint.base_url, local_endpoint.model_name
    budget = {"openai": {"budget_limit": 1e-9, "time_period": "1d"}}
    price = {"input_cost_per_token": 0.01, "output_cost_per_token": 0.01}
    with (
        real_servers.litellm(upstream, served, provider_budget_config=budget, **price) as gateway,
        InferenceEndpointsLLM(base_url=gateway.base_url, api_key=real_servers.MASTER_KEY) as llm,
    ):
        assert llm.generate(rows(1))[0][0]
        with pytest.raises(CreditError, match="budget"):
            llm.generate(rows(80))


@pytest.mark.parametrize("use_openai_client", [False, True])
@pytest.mark.parametrize("name", ["nginx", "litellm"])
def test_a_gateway_that_is_killed_in_the_middle_of_a_run(
    name: str, use_openai_client: bool, local_endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    """It is started again; what was in flight is sent again, and no row is lost or failed."""
    upstream = local_endpoint.base_url
    if name == "nginx":
        need("nginx")
        gateway = real_servers.nginx(
            upstream, "listen LISTEN; location / { proxy_pass $upstream; }"
        )
    else:
        gateway = real_servers.litellm(upstream, local_endpoint.model_name)
    with gateway as server:
        settings = {
            "base_url": server.base_url,
            "api_key": real_servers.MASTER_KEY,
            "use_openai_client": use_openai_client,
        }
        check_a_run_over_a_restart(server, settings, tmp_path / "out.jsonl", rows=60)


@pytest.mark.parametrize("use_openai_client", [False, True])
def test_a_llama_cpp_that_is_ended_in_the_middle_of_a_run(
    use_openai_client: bool, unused_port: int, tmp_path: Path
) -> None:
    """The same without a gateway."""
    with LocalEndpoint(threads=1, port=unused_port) as server:
        settings = {"base_url": server.base_url, "use_openai_client": use_openai_client}
        check_a_run_over_a_restart(server, settings, tmp_path / "out.jsonl", rows=60)
