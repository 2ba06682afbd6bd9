"""Every fault on the wire, as a raw client sees it, and which requests it hits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import openai
import pytest
from virtual_client import Talker, now, run_virtually, virtual_endpoint

from distilabel_endpoints.testing import (
    BreakStream,
    Drip,
    Fault,
    Flood,
    Garble,
    Hang,
    Latency,
    Lengths,
    LoopEndpoint,
    Refuse,
    Reset,
    Respond,
    Rewrite,
    SimulatedEndpoint,
    Throttle,
    Truncate,
    edits,
)

Start = Callable[..., SimulatedEndpoint]
PATH = "/v1/chat/completions"
BODY = {"model": "simulated-model", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**BODY, "stream": True}
LONG = Lengths(20, spread="constant")


def run_against(
    act: Callable[[LoopEndpoint, Talker], Coroutine[Any, Any, None]], *faults: Fault, **changes: Any
) -> None:
    """Run a function against an endpoint with these faults, in virtual time."""

    async def main() -> None:
        options: Any = {"lengths": LONG, "faults": faults, **changes}
        async with virtual_endpoint(**options) as (endpoint, talker):
            await act(endpoint, talker)

    run_virtually(main())


async def statuses(talker: Talker, count: int, **options: Any) -> list[int]:
    """The statuses of so many chats, one after the other."""
    return [(await talker.chat(**options))[0] for _ in range(count)]


FAIL = Respond(500)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(FAIL), [500] * 6),
        (Fault(FAIL, times=3), [500, 500, 500, 200, 200, 200]),
        (Fault(FAIL, nth=2), [200, 500, 200, 200, 200, 200]),
        (Fault(FAIL, every=3), [200, 200, 500, 200, 200, 500]),
        (Fault(FAIL, every=2, times=2), [200, 500, 200, 500, 200, 200]),
        (Fault(FAIL, chance=0), [200] * 6),
        (Fault(FAIL, path="/health"), [200] * 6),
        (Fault(FAIL, path="*"), [500] * 6),
        (Fault(FAIL, path=PATH), [500] * 6),
        (Fault(FAIL, marker="hello"), [500] * 6),
        (Fault(FAIL, marker="goodbye"), [200] * 6),
        (Fault(FAIL, headers={"x-who": "me"}), [200] * 6),
    ],
    ids=str,
)
def test_which_requests_a_fault_hits(fault: Fault, expected: list[int]) -> None:
    """By number, by text, by path, by header, so many times."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        assert await statuses(talker, 6) == expected

    run_against(act, fault)


def test_faults_by_header() -> None:
    """A header with that value, whatever its case, is hit."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        assert await statuses(talker, 1, headers={"X-Who": "me"}) == [500]
        assert await statuses(talker, 1, headers={"X-Who": "you"}) == [200]

    run_against(act, Fault(FAIL, headers={"x-who": "me"}))


def test_faults_count_per_request() -> None:
    """Every row fails twice, then works, in whatever order they come."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        rows = ["a", "b", "a", "a", "b", "b", "b", "c"]
        seen = [(await talker.chat(row))[0] for row in rows]
        assert seen == [500, 500, 500, 200, 500, 200, 200, 500]

    run_against(act, Fault(FAIL, times=2, per_request=True))


def test_faults_in_a_window_of_time() -> None:
    """From a second on, up to another."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        seen = []
        for _ in range(5):
            seen += await statuses(talker, 1)
            await asyncio.sleep(5)
        assert seen == [200, 200, 500, 500, 200]

    run_against(act, Fault(FAIL, after=10, until=20))


def test_chances_come_from_the_seed() -> None:
    """A third of the requests, the same ones each time."""
    seen: list[list[int]] = []

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        seen.append(await statuses(talker, 60))

    for _ in range(2):
        run_against(act, Fault(FAIL, chance=0.33), seed=5)

    assert seen[0] == seen[1]
    assert 8 < seen[0].count(500) < 35


def test_the_first_fault_wins_and_all_count() -> None:
    """Two faults on one request: the earlier acts; the later has counted it."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        assert await statuses(talker, 3) == [501, 502, 200]

    run_against(act, Fault(Respond(501), nth=1), Fault(Respond(502), nth=2))


def test_faults_can_be_added_and_cleared() -> None:
    """While it runs."""

    async def act(endpoint: LoopEndpoint, talker: Talker) -> None:
        assert await statuses(talker, 1) == [200]
        endpoint.add_faults(Fault(FAIL), Fault(Respond(501)))
        assert await statuses(talker, 1) == [500]
        endpoint.clear_faults()
        assert await statuses(talker, 1) == [200]
        assert [record.fault for record in endpoint.requests] == [None, "Respond", None]

    run_against(act)


@pytest.mark.parametrize(
    ("action", "status", "body", "content_type"),
    [
        (Respond(500), 500, b'{"error":', "application/json"),
        (Respond(400, {"a": 1}), 400, b'{"a":1}', "application/json"),
        (Respond(429, "slow down"), 429, b"slow down", "application/json"),
        (Respond(503, ["slow", "down"]), 503, b'["slow","down"]', "application/json"),
        (Respond(502, "<html>", content_type="text/html"), 502, b"<html>", "text/html"),
        (Respond(503, b"\xff\xfe"), 503, b"\xff\xfe", "application/json"),
        (Respond(200, ""), 200, b"", "application/json"),
        (Respond(200, "<title>", content_type="text/html"), 200, b"<title>", "text/html"),
        (Respond(529), 529, b"", "application/json"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_respond_sends_what_it_is_given(
    action: Respond, status: int, body: bytes, content_type: str
) -> None:
    """Any status and any body, as text, bytes or JSON; by default the flavor's own."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, BODY) as response:
            assert response.status == status
            assert (await response.read()).startswith(body)
            assert response.content_type == content_type

    run_against(act, Fault(action))


def test_respond_can_wait_and_repeat_headers() -> None:
    """After its delay, with ten thousand headers if asked."""
    many = tuple((f"x-{i}", "1") for i in range(100))
    again = (("set-cookie", "a=1"), ("set-cookie", "b=2"))

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, BODY) as response:
            assert now() == 7
            assert len(response.headers.getall("set-cookie")) == 2
            assert len(response.headers) > 100

    run_against(act, Fault(Respond(503, delay=7, headers=(*many, *again))))


def test_ten_thousand_headers_are_sent(simulated_endpoint: Start) -> None:
    """All of them reach the socket."""
    headers = tuple((f"x-{i}", "1") for i in range(10_000))
    endpoint = simulated_endpoint(faults=(Fault(Respond(200, {}, headers=headers)),))

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port, limit=2**22)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return head

    endpoint.clear_faults()
    endpoint.add_faults(Fault(Respond(200, {}, headers=headers), path="*"))
    assert asyncio.run(main()).count(b"\r\nx-") == 10_000


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_lead_elsewhere(status: int) -> None:
    """To another host, which can be a second endpoint that then tells what reached it."""
    target = (("location", "http://127.0.0.1:9/v1"),)

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        assert await statuses(talker, 1) == [status]

    run_against(act, Fault(Respond(status, "", headers=target)))


def test_nested_json_is_sent() -> None:
    """A hundred thousand arrays in each other."""
    depth = 100_000

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, BODY) as response:
            assert len(await response.read()) == 2 * depth

    run_against(act, Fault(Respond(200, b"[" * depth + b"]" * depth)))


@pytest.mark.parametrize(
    ("action", "header", "value"),
    [
        (Throttle(), "retry-after", None),
        (Throttle(2), "retry-after", "2"),
        (Throttle(1.5, form="float"), "retry-after", "1.500"),
        (Throttle(0.7, form="milliseconds"), "retry-after-ms", "700"),
        (Throttle(9, form="unreadable"), "retry-after", "in a little while"),
        (Throttle(should_retry=False), "x-should-retry", "false"),
        (Throttle(should_retry=True), "x-should-retry", "true"),
    ],
    ids=str,
)
def test_throttle_says_when_in_every_form(action: Throttle, header: str, value: str | None) -> None:
    """Seconds, fractions, milliseconds, nonsense, nothing."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, BODY) as response:
            assert response.status == 429
            assert response.headers.get(header) == value

    run_against(act, Fault(action))


@pytest.mark.parametrize("skew", [0, 86400, -3600])
def test_a_date_is_right_only_against_the_servers_own(skew: float) -> None:
    """Whatever its clock says, the dates differ by the seconds asked for, and the clock runs."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        dates = []
        for _ in range(2):
            async with talker.raw(PATH, BODY) as response:
                date = parsedate_to_datetime(response.headers["Date"])
                until = parsedate_to_datetime(response.headers["Retry-After"])
                assert (until - date).total_seconds() == 30
                dates.append(date)
            await asyncio.sleep(10)
        assert (dates[1] - dates[0]).total_seconds() == 10

    run_against(act, Fault(Throttle(30, form="date", skew=skew)))


@pytest.mark.parametrize("at", ["start", "head", "body"])
@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_hang_never_ends(at: Any, body: dict[str, Any]) -> None:
    """Nothing, the head, or half the answer, then nothing for hours; the slot is free after it."""

    async def act(endpoint: LoopEndpoint, talker: Talker) -> None:
        async def read() -> bytes:
            async with talker.raw(PATH, body) as response:
                received.append(response.status)
                return await response.read()

        received: list[int] = []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(), 7200)
        assert now() == 7200
        assert received == ([] if at == "start" else [200])
        assert await statuses(talker, 1) == [200]
        assert endpoint.requests[0].aborted
        assert endpoint.requests[0].status is None

    run_against(act, Fault(Hang(at), times=1), slots=1)


@pytest.mark.parametrize(
    "action", [Reset("start"), Reset("head"), Reset("body"), Truncate(), Truncate(0.9)], ids=str
)
@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_connections_break(action: Reset | Truncate, body: dict[str, Any]) -> None:
    """Reset at three places, and closed before the announced end: an error, never an answer."""

    async def act(endpoint: LoopEndpoint, talker: Talker) -> None:
        with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
            async with talker.raw(PATH, body) as response:
                await response.read()
        assert await statuses(talker, 1) == [200]
        assert not endpoint.requests[0].aborted

    run_against(act, Fault(action, times=1), slots=1)


def test_truncation_announces_the_whole_body() -> None:
    """The length in the head is the true one; half of it comes."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, BODY) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
            assert int(response.headers["Content-Length"]) > 300

    run_against(act, Fault(Truncate(0.5)))


def test_a_reset_is_a_reset_on_real_sockets(simulated_endpoint: Start) -> None:
    """The peer sees ECONNRESET, not an orderly end."""
    endpoint = simulated_endpoint(faults=(Fault(Reset(), path="*"),))

    async def main() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    asyncio.run(main())


def test_refuse_closes_the_door_and_comes_back() -> None:
    """Nothing listens for so many seconds, open connections are gone, then all is as before."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        running = asyncio.create_task(talker.chat("running"))
        await asyncio.sleep(1)
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectionError):
                await talker.chat()
        with pytest.raises(aiohttp.ClientConnectionError):
            await running
        await asyncio.sleep(31)
        assert await statuses(talker, 1) == [200]

    run_against(act, Fault(Refuse(30), nth=2), latency=Latency(100))


def test_drip_feeds_byte_by_byte() -> None:
    """A byte a second makes the whole answer, in as many seconds."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        status, answer = await talker.chat()
        assert status == 200
        assert now() > 300
        assert (await talker.chat())[1] == answer

    run_against(act, Fault(Drip(1.0), times=1))


def test_a_dripped_stream_is_the_same_stream() -> None:
    """Events cut at every byte, without a pause, spell the same text."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        texts = []
        for _ in range(2):
            async with talker.raw(PATH, STREAM) as response:
                texts.append(await response.read())
        assert texts[0] == texts[1]

    run_against(act, Fault(Drip(0), times=1))


def test_openai_reads_a_stream_cut_at_every_byte(simulated_endpoint: Start) -> None:
    """A real client on real sockets puts the bytes together."""
    endpoint = simulated_endpoint(faults=(Fault(Drip(0), times=1),))

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=endpoint.v1_url, api_key="x") as client:
            texts = []
            for _ in range(2):
                create: Any = client.chat.completions.create
                stream = await create(**STREAM)
                texts.append([chunk.choices[0].delta.content async for chunk in stream])
            assert texts[0] == texts[1]

    asyncio.run(main())


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_floods_have_their_size(body: dict[str, Any], packed: bool) -> None:
    """So many bytes once unpacked, small on the wire where packed."""
    size = 3_000_000

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, body) as response:
            content = await response.read()
            assert size <= len(content) < size + 200_000
            assert response.headers.get("Content-Encoding") == ("gzip" if packed else None)
            if body is BODY:
                assert json.loads(content)["choices"]

    run_against(act, Fault(Flood(size, gzip=packed)))


def test_a_gzip_bomb_is_small_on_the_wire(simulated_endpoint: Start) -> None:
    """Sixty-four megabytes in less than one."""
    endpoint = simulated_endpoint(faults=(Fault(Flood(64_000_000, gzip=True), path="*"),))

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        content = await reader.read()
        writer.close()
        return content

    assert len(asyncio.run(main())) < 1_000_000


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_an_endless_answer_goes_on(body: dict[str, Any]) -> None:
    """It is the client that must leave."""

    async def act(endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, body) as response:
            received = 0
            while received < 10_000_000:
                received += len(await response.content.read(2**20))
        assert now() > 100
        await endpoint.wait_for(lambda it: it.in_flight == 0)
        assert endpoint.requests[0].aborted

    run_against(act, Fault(Flood(interval=1)))


def _choice(answer: Any) -> Any:
    return answer["choices"][0]


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        (edits.no_choices, lambda answer: answer["choices"] == []),
        (edits.null_choices, lambda answer: answer["choices"] is None),
        (edits.null_content, lambda answer: _choice(answer)["message"]["content"] is None),
        (edits.finished("length"), lambda answer: _choice(answer)["finish_reason"] == "length"),
        (edits.without("usage"), lambda answer: "usage" not in answer and answer["choices"]),
        (edits.error_body(429), lambda answer: answer["error"]["code"] == 429),
        (edits.wrapped("result"), lambda answer: _choice(answer["result"])["message"]["content"]),
        (
            edits.unnamed,
            lambda answer: (
                _choice(answer).keys() & {"message", "finish_reason"} == {"finish_reason"}
            ),
        ),
        (lambda _: ["not", "an", "object"], lambda answer: answer == ["not", "an", "object"]),
    ],
    ids=["none", "null", "no content", "length", "no usage", "error", "wrapped", "unnamed", "list"],
)
def test_rewritten_answers(edit: Any, check: Any) -> None:
    """200 with what should not be in it."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        status, answer = await talker.chat()
        assert status == 200
        assert check(answer)

    run_against(act, Fault(Rewrite(edit)))


def test_rewriting_reaches_every_answer() -> None:
    """Streamed events and answers that are not generated are edited as well."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, STREAM) as response:
            text = await response.text()
        assert '"finish_reason":"content_filter"' in text
        assert '"finish_reason":"stop"' not in text
        assert await talker.get("/v1/models") == (200, "5")

    run_against(
        act, Fault(Rewrite(edits.finished("content_filter"))), Fault(Rewrite(lambda _: 5), path="*")
    )


def test_edits_leave_the_true_answer_alone() -> None:
    """An edit changes a copy, and what it does not know it lets be."""
    answer = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    before = json.dumps(answer)
    for edit in (edits.null_content, edits.no_choices, edits.finished("length")):
        edit(answer)
    assert json.dumps(answer) == before
    assert edits.no_choices({"other": 1}) == {"other": 1}
    assert edits.null_content([{"generated_text": "x"}]) == [{"generated_text": None}]


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        (edits.truncated_json, lambda body: body.startswith(b"{") and not body.endswith(b"}")),
        (edits.bad_utf8, lambda body: b'"content":"\xff' in body),
        (edits.surround(before="<!-- "), lambda body: body.startswith(b"<!-- {")),
        (edits.surround(after="garbage"), lambda body: body.endswith(b"}garbage")),
    ],
    ids=["truncated", "utf-8", "before", "after"],
)
def test_garbled_answers_arrive_whole(edit: Any, check: Any) -> None:
    """200, complete by its length, and no valid JSON or UTF-8."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, BODY) as response:
            body = await response.read()
            assert check(body)
            with pytest.raises(ValueError, match=r"."):
                json.loads(body)

    run_against(act, Fault(Garble(edit)))


def test_garbled_streams() -> None:
    """Each event is garbled."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, STREAM) as response:
            assert (await response.read()).count(b"\xff") > 10

    run_against(act, Fault(Garble(edits.bad_utf8)))


@pytest.mark.parametrize(
    ("action", "check"),
    [
        (BreakStream("no_done"), lambda s: "finish_reason" in s and "[DONE]" not in s),
        (BreakStream("error", events=3), lambda s: s.count("choices") == 3 and '"error":' in s),
        (BreakStream("garbage", events=3), lambda s: "{nonsense" in s and "[DONE]" in s),
        (BreakStream("cut", events=3), lambda s: s.count("choices") == 3 and "DONE" not in s),
    ],
    ids=["no end", "error", "garbage", "cut"],
)
def test_broken_streams_end_in_good_order(action: BreakStream, check: Any) -> None:
    """Without an end mark, with an error event, with garbage, early: a complete HTTP response."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        async with talker.raw(PATH, STREAM) as response:
            assert check((await response.read()).decode(errors="replace"))
        status, answer = await talker.chat()
        assert status == 200
        assert answer["choices"]

    run_against(act, Fault(action))


def test_a_stream_reset_in_the_middle() -> None:
    """Some events come, then the connection breaks."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        received = bytearray()

        async def read() -> None:
            async with talker.raw(PATH, STREAM) as response:
                async for chunk in response.content.iter_any():
                    received.extend(chunk)

        with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
            await read()
        assert 0 < received.count(b"choices") <= 5

    run_against(act, Fault(BreakStream("reset", events=5)))


def test_tgis_streams_break_in_its_own_shape() -> None:
    """The error event of TGI has TGI's keys."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        _status, text = await talker.post("/generate_stream", {"inputs": "x"})
        assert '"error_type"' in text.rstrip().splitlines()[-1]

    run_against(act, Fault(BreakStream("error")), flavor="tgi")


def test_refused_streams_are_not_streams() -> None:
    """A fault that needs a true answer leaves refusals as they are."""

    async def act(_endpoint: LoopEndpoint, talker: Talker) -> None:
        status, _answer = await talker.chat(model="other", stream=True)
        assert status == 404

    run_against(act, Fault(BreakStream("cut")), Fault(Truncate()))


def test_a_redirect_can_lead_to_a_second_endpoint(simulated_endpoint: Start) -> None:
    """The second one's log says what reached it."""
    second = simulated_endpoint()
    location = (("location", f"{second.v1_url}/chat/completions"),)
    first = simulated_endpoint(faults=(Fault(Respond(307, "", headers=location)),))

    async def main() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{first.v1_url}/chat/completions", json=BODY) as response,
        ):
            return response.status

    assert asyncio.run(main()) == 200
    assert [record.body for record in second.requests] == [BODY]
