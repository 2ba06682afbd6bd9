"""The log: one frozen record per request, and counters that agree with it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from virtual_client import now, run_virtually, virtual_endpoint

from distilabel_endpoints.testing import Fault, Latency, Lengths, Limits, RequestRecord, Respond
from distilabel_endpoints.testing.request_log import Entry, RequestLog


def test_a_record_tells_the_whole_story() -> None:
    """Times, place, headers in lower case, parsed body, status."""

    async def main() -> None:
        async with virtual_endpoint(slots=1, latency=Latency(10)) as (endpoint, talker):
            await asyncio.sleep(5)
            await asyncio.gather(talker.chat("a", headers={"X-Mine": "Yes"}), talker.chat("b"))
            await talker.get("/v1/models?verbose=1")
            first, second, third = endpoint.requests
            assert (first.arrival, first.start, first.end) == (5, 5, 15)
            assert (second.arrival, second.start, second.end) == (5, 15, 25)
            assert (first.method, first.path, first.status) == ("POST", "/v1/chat/completions", 200)
            assert first.headers["x-mine"] == "Yes"
            assert first.body["messages"] == [{"role": "user", "content": "a"}]
            assert (first.in_flight, second.in_flight) == (1, 2)
            assert (third.kind, third.path, third.query) == ("about", "/v1/models", "verbose=1")
            assert (third.start, third.in_flight) == (None, 0)
            assert endpoint.generations == (first, second)

    run_virtually(main())


def test_records_are_frozen_and_snapshots_stay() -> None:
    """A snapshot taken while a request runs does not change when it ends."""

    async def main() -> None:
        async with virtual_endpoint(latency=Latency(10)) as (endpoint, talker):
            running = asyncio.create_task(talker.chat())
            await endpoint.wait_for(lambda it: it.in_flight == 1)
            (before,) = endpoint.requests
            await running
            assert (before.end, before.status) == (None, None)
            assert endpoint.requests[0].end == now()
            with pytest.raises(dataclasses.FrozenInstanceError):
                before.status = 200  # type: ignore[misc]

    run_virtually(main())


def test_records_keep_secrets_and_prompts_out_of_their_repr() -> None:
    """A failing assertion prints neither."""

    async def main() -> None:
        async with virtual_endpoint() as (endpoint, talker):
            await talker.chat("the prompt", headers={"Authorization": "Bearer hf_secret"})
            (record,) = endpoint.requests
            assert record.headers["authorization"] == "Bearer hf_secret"
            assert "hf_secret" not in repr(record)
            assert "the prompt" not in repr(record)

    run_virtually(main())


def test_bodies_that_are_no_json_are_kept_raw() -> None:
    """Bytes as they came; nothing as `None`; JSON too deep to parse as bytes."""

    async def main() -> None:
        async with virtual_endpoint() as (endpoint, talker):
            for body in (b"{broken", b"", b"[" * 100_000):
                address = f"{endpoint.v1_url}/completions"
                async with talker._session.post(address, data=body) as sent:
                    assert sent.status == 400
            assert [record.body for record in endpoint.requests] == [
                b"{broken",
                None,
                b"[" * 100_000,
            ]

    run_virtually(main())


def test_statistics_agree_with_the_records() -> None:
    """By status, aborted, tokens, and peaks."""

    async def main() -> None:
        faults = (Fault(Respond(500), marker="bad"),)
        limits = Limits(queue=1)
        lengths = Lengths(7, spread="constant")
        async with virtual_endpoint(
            slots=2, latency=Latency(10), limits=limits, faults=faults, lengths=lengths
        ) as (endpoint, talker):
            chats: list[Any] = [talker.chat(str(i)) for i in range(4)]
            await asyncio.gather(*chats, talker.chat("bad"), talker.chat("bad"))
            with pytest.raises(TimeoutError):
                await talker.chat(timeout=3)
            await endpoint.wait_for(lambda it: it.in_flight == 0)
            seen = endpoint.statistics()
            assert seen.requests == len(endpoint.requests) == 7
            assert seen.by_status == {200: 3, 429: 1, 500: 2}
            assert seen.aborted == sum(record.aborted for record in endpoint.requests) == 1
            assert seen.peak_running == 2
            assert 3 <= seen.peak_in_flight == endpoint.peak_in_flight <= 6
            assert seen.output_tokens == 4 * 7

    run_virtually(main())


def test_clearing_forgets_the_past_and_not_the_present() -> None:
    """A request that is being answered still counts as in flight, and leaves as it should."""

    async def main() -> None:
        async with virtual_endpoint(latency=Latency(10)) as (endpoint, talker):
            await talker.chat()
            running = asyncio.create_task(talker.chat())
            await endpoint.wait_for(lambda it: it.in_flight == 1)
            endpoint.clear_log()
            assert (endpoint.requests, endpoint.latencies) == ((), ())
            assert endpoint.statistics().peak_in_flight == endpoint.in_flight == 1
            await running
            assert endpoint.in_flight == 0
            assert endpoint.statistics().running == 0

    run_virtually(main())


def test_without_a_log_latencies_and_counters_remain() -> None:
    """No records, and all the rest."""

    async def main() -> None:
        async with virtual_endpoint(log=False, latency=Latency(2)) as (endpoint, talker):
            await asyncio.gather(*(talker.chat(str(i)) for i in range(3)))
            assert len(endpoint.requests) == 0
            assert list(endpoint.latencies) == [2, 2, 2]
            assert endpoint.statistics().by_status == {200: 3}
            assert endpoint.peak_in_flight == 3

    run_virtually(main())


def test_without_a_log_nothing_is_kept_per_request() -> None:
    """Entries are let go; only eight bytes a latency stay."""
    log = RequestLog(keep=False)
    for _ in range(100):
        entry = Entry("generate", "POST", "/", 0.0)
        log.arrive(entry)
        log.leave(entry, 1.0)
    assert log.records() == ()


def test_an_entry_becomes_a_record_of_all_its_fields() -> None:
    """What an entry holds and what a record has are the same names."""
    assert set(Entry.__slots__) == {field.name for field in dataclasses.fields(RequestRecord)}
