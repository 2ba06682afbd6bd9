"""The scheduler in virtual time, against clients that answer by script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from scripted_client import (
    ScriptedClient,
    answer,
    failure,
    pooled_scheduler_for,
    run_virtual,
    scheduler_for,
    served,
)

from distilabel_endpoints._engine.in_flight import Drain
from distilabel_endpoints._limits.limiter import DEFAULT_MOST, LimiterSettings
from distilabel_endpoints.errors import (
    AccessError,
    AuthenticationError,
    RunError,
    UnavailableError,
)
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request
from distilabel_endpoints.spending.account import Account
from distilabel_endpoints.spending.budget import parse_budget
from distilabel_endpoints.spending.reservation import Bound


def requests(count: int) -> list[Request]:
    return [Request(ordinal=n, prompt=f"row {n}") for n in range(count)]


async def steady(_: Request) -> Answer | Failure:
    await asyncio.sleep(1)
    return answer()


def test_every_row_is_delivered_once() -> None:
    """Each row comes back exactly once, whatever the order."""

    async def main() -> None:
        client = ScriptedClient(steady)
        scheduler = scheduler_for(client)
        done: list[int] = []

        async def work(request: Request) -> int:
            assert isinstance(await scheduler.complete(request), Answer)
            return request.ordinal

        await scheduler.drive(requests(500), work, done.append)
        assert sorted(done) == list(range(500))
        assert len(client.sent) == 500

    run_virtual(main)


def test_the_users_ceiling_is_never_exceeded() -> None:
    """No more than `max_concurrency` attempts are in flight at any instant."""

    async def main() -> None:
        client = ScriptedClient(steady)
        scheduler = scheduler_for(client, max_concurrency=3)
        await scheduler.drive(requests(20), scheduler.complete, lambda _: None)
        assert client.most_in_flight == 3

    run_virtual(main)


def test_rows_are_pulled_a_window_ahead_at_most() -> None:
    """An endless iterable is read only as far as the window reaches beyond what is done."""

    async def main() -> None:
        client = ScriptedClient(steady)
        scheduler = scheduler_for(client, max_concurrency=4)
        pulled = delivered = 0
        ahead: list[int] = []

        def endless() -> Iterator[Request]:
            nonlocal pulled
            for request in requests(300):
                pulled += 1
                ahead.append(pulled - delivered)
                yield request

        def deliver(_: object) -> None:
            nonlocal delivered
            delivered += 1

        await scheduler.drive(endless(), scheduler.complete, deliver)
        assert delivered == 300
        assert max(ahead) <= scheduler.window + 1

    run_virtual(main)


def test_an_async_iterable_of_rows() -> None:
    """Rows may come from an async generator."""

    async def main() -> None:
        scheduler = scheduler_for(ScriptedClient(steady))
        done: list[object] = []

        async def rows() -> AsyncIterator[Request]:
            for request in requests(5):
                await asyncio.sleep(0.1)
                yield request

        await scheduler.drive(rows(), scheduler.complete, done.append)
        assert len(done) == 5

    run_virtual(main)


def test_no_permit_is_held_while_a_row_waits() -> None:
    """With one permit, a row in its backoff lets the others through."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            if request.ordinal == 0 and client.attempts(0) < 3:
                return failure(FailureKind.TRANSIENT, status=500)
            return answer()

        client = ScriptedClient(script)
        scheduler = scheduler_for(client, max_concurrency=1, first_delay=50.0)
        order: list[int] = []

        async def work(request: Request) -> int:
            await scheduler.complete(request)
            return request.ordinal

        await scheduler.drive(requests(10), work, order.append)
        assert order[-1] == 0
        assert client.attempts(0) == 3

    run_virtual(main)


def test_a_slow_row_holds_no_one_up() -> None:
    """There is no batch: rows are answered while one takes a hundred times as long."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            await asyncio.sleep(100 if request.ordinal == 0 else 1)
            return answer()

        scheduler = scheduler_for(ScriptedClient(script), max_concurrency=2)
        await scheduler.drive(requests(100), scheduler.complete, lambda _: None)
        assert asyncio.get_running_loop().time() == pytest.approx(100, abs=2)

    run_virtual(main)


def test_attempts_are_charged_only_for_what_a_row_can_cause() -> None:
    """Throttling and absence are waited out however often they come; a 500 counts."""

    async def main() -> None:
        script_of: dict[int, list[Failure]] = {
            0: [failure(FailureKind.THROTTLE, status=429)] * 30,
            1: [failure(FailureKind.UNAVAILABLE, status=503)] * 30,
            2: [failure(FailureKind.TRANSIENT, status=500)] * 30,
        }

        async def script(request: Request) -> Answer | Failure:
            await asyncio.sleep(0.01)
            left = script_of.get(request.ordinal)
            return left.pop() if left else answer()

        scheduler = scheduler_for(ScriptedClient(script))
        for ordinal in range(3):
            outcome = await scheduler.complete(Request(ordinal=ordinal, prompt="x"))
            if ordinal < 2:
                assert isinstance(outcome, Answer)
            else:
                assert isinstance(outcome, Failure)
                assert outcome.attempts == 5

    run_virtual(main)


def test_a_run_that_is_refused_stops_and_keeps_what_was_in_flight() -> None:
    """Once twenty rows had a 403 nothing new is sent; attempts in flight still deliver."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            if request.ordinal >= 8:
                return failure(FailureKind.RUN, status=403, code="forbidden")
            await asyncio.sleep(1 if request.ordinal < 4 else 50)
            return answer()

        client = ScriptedClient(script)
        scheduler = scheduler_for(client, max_concurrency=8)
        done: list[object] = []
        with pytest.raises(AccessError):
            await scheduler.drive(requests(1000), scheduler.complete, done.append)
        assert len(done) == 8
        assert not any(isinstance(outcome, Failure) for outcome in done)
        assert 28 <= len(client.sent) <= 36

    run_virtual(main)


@pytest.mark.parametrize("status", [301, 401, 402, 403, 404, 405, 407, 410, 429, 451, 501, 503])
@pytest.mark.parametrize("place", [0, 50, 99])
def test_no_single_row_ends_a_run(status: int, place: int) -> None:
    """Refused for ever while others are answered, first, in the middle or last: it alone fails."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            if request.ordinal != place:
                await asyncio.sleep(1)
                return answer()
            kinds = {503: FailureKind.UNAVAILABLE, 429: FailureKind.THROTTLE}
            kind = kinds.get(status, FailureKind.RUN)
            code = {503: "starting", 404: "not_found"}.get(status, "forbidden")
            return failure(kind, status=status, code=code, message="not this one")

        client = ScriptedClient(script)
        scheduler = scheduler_for(client, max_concurrency=4)
        done: dict[int, Answer | Failure] = {}

        async def work(request: Request) -> None:
            done[request.ordinal] = await scheduler.complete(request)

        await scheduler.drive(requests(100), work, lambda _: None)
        failed = [ordinal for ordinal, outcome in done.items() if isinstance(outcome, Failure)]
        assert (len(done), failed) == (100, [place])
        outcome = done[place]
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.status) == (FailureKind.ROW, status)
        assert "not this one" in outcome.message

    run_virtual(main)


def test_a_rejected_token_is_confirmed_once_before_it_is_believed() -> None:
    """One 401 that a second look does not confirm ends nothing; two do."""

    async def main() -> None:
        async def flapping(request: Request) -> Answer | Failure:
            if len(client.sent) == 1:
                return failure(FailureKind.RUN, status=401)
            return answer()

        client = ScriptedClient(flapping)
        assert isinstance(await scheduler_for(client).complete(requests(1)[0]), Answer)
        assert client.times[1] - client.times[0] >= 2

        async def revoked(_: Request) -> Answer | Failure:
            return failure(FailureKind.RUN, status=401)

        with pytest.raises(AuthenticationError):
            await scheduler_for(ScriptedClient(revoked)).complete(requests(1)[0])

    run_virtual(main)


def test_a_refusal_of_every_row_is_the_runs_failure() -> None:
    """Twenty rows refused alike with no success between file no row; the run stops."""

    async def main() -> None:
        async def script(_: Request) -> Answer | Failure:
            await asyncio.sleep(0.1)
            return failure(FailureKind.ROW, status=422, message="max_new_tokens too large")

        for ceiling in (1, 4, 64):
            scheduler = scheduler_for(ScriptedClient(script), max_concurrency=ceiling)
            done: list[object] = []
            with pytest.raises(RunError) as caught:
                await scheduler.drive(requests(100), scheduler.complete, done.append)
            assert caught.value.failure.code == "systemic"
            assert done == []

    run_virtual(main)


def test_a_refused_row_among_good_ones_is_filed() -> None:
    """The other rows are answered, and so is a run whose last rows are all refused."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            await asyncio.sleep(0.1)
            if request.ordinal in {5, 98, 99}:
                return failure(FailureKind.ROW, status=400)
            return answer()

        scheduler = scheduler_for(ScriptedClient(script), max_concurrency=4)
        done: list[Answer | Failure] = []
        await scheduler.drive(requests(100), scheduler.complete, done.append)
        assert sum(isinstance(outcome, Failure) for outcome in done) == 3

    run_virtual(main)


def test_a_hanging_attempt_is_cut_and_tried_again() -> None:
    """An attempt ends at its timeout; the row is tried again."""

    async def main() -> None:
        async def script(_: Request) -> Answer | Failure:
            if len(client.sent) == 1:
                await asyncio.sleep(10_000)
            return answer()

        client = ScriptedClient(script)
        scheduler = scheduler_for(client, timeout=30)
        assert isinstance(await scheduler.complete(requests(1)[0]), Answer)
        assert client.cancelled == 1
        assert 30 <= asyncio.get_running_loop().time() < 40

    run_virtual(main)


@pytest.mark.parametrize(
    ("first", "seconds", "stream", "lenient"),
    [
        (failure(FailureKind.TRANSIENT, status=504), 60.0, True, False),
        (failure(FailureKind.BAD_RESPONSE, status=200, code="bad_utf8"), 1.0, False, True),
    ],
)
def test_a_row_is_tried_again_in_the_form_that_may_help(
    first: Failure, seconds: float, stream: bool, lenient: bool
) -> None:
    """As a stream after a gateway gave up on a long answer, with U+FFFD if it is not UTF-8."""

    async def main() -> None:
        async def script(_: Request) -> Answer | Failure:
            await asyncio.sleep(seconds)
            return first if len(client.sent) == 2 else answer()

        client = ScriptedClient(script)
        scheduler = scheduler_for(client)
        await scheduler.complete(requests(1)[0])
        assert isinstance(await scheduler.complete(requests(2)[1]), Answer)
        again = client.sent[-1]
        assert (again.ordinal, again.stream, again.lenient) == (1, stream, lenient)

    run_virtual(main)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (FailureKind.UNAVAILABLE, {"code": "refused"}, "nothing listens there"),
        (FailureKind.UNAVAILABLE, {"code": "other"}, "the endpoint does not answer"),
        (FailureKind.THROTTLE, {"status": 429, "retry_after": 60.0}, "asks for a pause"),
    ],
)
def test_what_every_request_waits_for_is_shown(
    kind: FailureKind, given: dict[str, Any], words: str
) -> None:
    """A run that stands still says why, and for how long if that is known."""

    async def main() -> None:
        async def script(_: Request) -> Answer | Failure:
            return failure(kind, **given)

        scheduler = scheduler_for(ScriptedClient(script))
        rows = asyncio.ensure_future(
            scheduler.drive(requests(40), scheduler.complete, lambda _: None)
        )
        await asyncio.sleep(30)
        seen = scheduler.statistics()
        assert words in (seen.waiting_for or "")
        assert (seen.pause_left is not None) == ("retry_after" in given)
        rows.cancel()
        await asyncio.wait([rows])

    run_virtual(main)


@pytest.mark.parametrize(("ceiling", "expected"), [(7, 7), (None, DEFAULT_MOST)])
def test_the_most_in_flight_is_what_the_user_allows(ceiling: int | None, expected: int) -> None:
    """Or the package's own bound, if the user has set none."""

    async def main() -> None:
        client, limits = ScriptedClient(steady), LimiterSettings(max_concurrency=ceiling)
        assert scheduler_for(client, max_concurrency=ceiling).most == expected
        assert pooled_scheduler_for({"a": client, "b": client}, limits=limits).most == expected

    run_virtual(main)


def test_an_endpoint_that_stays_away_ends_the_run() -> None:
    """After `wait_ready` seconds without a success the run stops, with few probes sent."""

    async def main() -> None:
        async def script(_: Request) -> Answer | Failure:
            return failure(FailureKind.UNAVAILABLE, status=503)

        client = ScriptedClient(script)
        scheduler = scheduler_for(client, wait_ready=900)
        with pytest.raises(UnavailableError, match="not available for 9"):
            await scheduler.drive(requests(200), scheduler.complete, lambda _: None)
        assert 900 <= asyncio.get_running_loop().time() < 960
        assert len(client.sent) < 200

    run_virtual(main)


def test_a_six_minute_start_costs_no_row_and_few_probes() -> None:
    """R6: 503 for six minutes: all rows answered, at most 60 probes."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def script(_: Request) -> Answer | Failure:
            await asyncio.sleep(0.05)
            if loop.time() < 360:
                return failure(FailureKind.UNAVAILABLE, status=503)
            await asyncio.sleep(1)
            return answer()

        client = ScriptedClient(script)
        scheduler = scheduler_for(client)
        done: list[Answer | Failure] = []
        await scheduler.drive(requests(300), scheduler.complete, done.append)
        assert all(isinstance(outcome, Answer) for outcome in done)
        early = sum(moment < 360 for moment in client.times)
        assert early - scheduler.statistics().limiter.limit <= 60
        assert loop.time() < 420

    run_virtual(main)


def test_cancelling_a_drive_gives_every_permit_back() -> None:
    """Attempts are cancelled, permits return, and the scheduler serves the next caller."""

    async def main() -> None:
        client = ScriptedClient(steady)
        scheduler = scheduler_for(client, max_concurrency=4)
        drive = asyncio.ensure_future(
            scheduler.drive(requests(100), scheduler.complete, lambda _: None)
        )
        await asyncio.sleep(1.5)
        drive.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drive
        assert client.in_flight == 0
        assert scheduler.statistics().limiter.in_flight == 0
        assert isinstance(await scheduler.complete(requests(1)[0]), Answer)

    run_virtual(main)


def test_a_drain_finishes_what_is_in_flight_and_sends_nothing_new() -> None:
    """Rows in flight are delivered; the others are left; the drive ends without an error."""

    async def main() -> None:
        client = ScriptedClient(steady)
        scheduler = scheduler_for(client, max_concurrency=4)
        drain, done = Drain(), list[object]()
        drive = asyncio.ensure_future(
            scheduler.drive(requests(100), scheduler.complete, done.append, drain)
        )
        await asyncio.sleep(1.5)
        drain.begin(30)
        await drive
        assert len(done) == 8
        assert len(client.sent) == 8
        assert scheduler.statistics().limiter.in_flight == 0

    run_virtual(main)


def test_a_drain_gives_up_after_its_grace() -> None:
    """What does not finish in time is cancelled and not delivered."""

    async def main() -> None:
        async def script(_: Request) -> Answer | Failure:
            await asyncio.sleep(1000)
            return answer()

        scheduler = scheduler_for(ScriptedClient(script), max_concurrency=4)
        drain, done = Drain(), list[object]()
        drive = asyncio.ensure_future(
            scheduler.drive(requests(10), scheduler.complete, done.append, drain)
        )
        await asyncio.sleep(1)
        drain.begin(30)
        await drive
        assert done == []
        assert asyncio.get_running_loop().time() == pytest.approx(31, abs=0.5)

    run_virtual(main)


def test_a_drain_before_the_first_row_sends_nothing() -> None:
    """The signal may come while the run still looks at its input."""

    async def main() -> None:
        client = ScriptedClient(steady)
        drain, done = Drain(), list[object]()
        drain.begin(30)
        scheduler = scheduler_for(client)
        await scheduler.drive(requests(10), scheduler.complete, done.append, drain)
        assert (done, client.sent) == ([], [])

    run_virtual(main)


def test_a_drain_gives_up_on_more_rows_than_fit_the_window() -> None:
    """Rows that wait to be begun do not hold up the end of those that hang."""

    async def main() -> None:
        client = ScriptedClient(lambda _: asyncio.sleep(1000, answer()))
        scheduler = scheduler_for(client, max_concurrency=4)
        drain, done = Drain(), list[object]()
        drive = asyncio.ensure_future(
            scheduler.drive(requests(1000), scheduler.complete, done.append, drain)
        )
        await asyncio.sleep(1)
        drain.begin(30)
        await drive
        assert (done, len(client.sent), client.cancelled) == ([], 4, 4)
        assert asyncio.get_running_loop().time() == pytest.approx(31, abs=0.5)

    run_virtual(main)


def test_a_row_that_fails_in_a_drain_is_left_for_the_next_run() -> None:
    """Its attempt may end, another is not begun, and no failure is recorded."""

    async def main() -> None:
        async def script(_: Request) -> Answer | Failure:
            await asyncio.sleep(5)
            return failure(FailureKind.TRANSIENT, code="server_error", status=500)

        client, drain, done = ScriptedClient(script), Drain(), list[object]()
        scheduler = scheduler_for(client, max_concurrency=4)
        drive = asyncio.ensure_future(
            scheduler.drive(requests(4), scheduler.complete, done.append, drain)
        )
        await asyncio.sleep(1)
        drain.begin(30)
        await drive
        assert (done, len(client.sent)) == ([], 4)

    run_virtual(main)


def test_a_row_that_is_cancelled_while_its_refusal_is_held_back_disturbs_nobody() -> None:
    """Others are answered, and what is held back of it is forgotten."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            if request.ordinal == 0:
                await asyncio.sleep(0.5)
                return failure(FailureKind.RUN, code="forbidden", status=403)
            await asyncio.sleep(3)
            return answer()

        scheduler = scheduler_for(ScriptedClient(script))
        refused, other = (asyncio.ensure_future(scheduler.complete(r)) for r in requests(2))
        await asyncio.sleep(1)
        refused.cancel()
        assert isinstance(await other, Answer)
        assert refused.cancelled()
        await scheduler.aclose()

    run_virtual(main)


def test_a_refused_row_does_not_wait_for_rows_that_wait_for_it() -> None:
    """Whoever feeds the rows may need its result first: a 400 is its own at once."""

    async def main() -> None:
        results: list[object] = []
        delivered = asyncio.Event()

        async def rows() -> AsyncIterator[Request]:
            yield Request(ordinal=0, prompt="bad")
            await delivered.wait()
            yield Request(ordinal=1, prompt="good")

        def deliver(result: object) -> None:
            results.append(result)
            delivered.set()

        async def script(request: Request) -> Answer | Failure:
            if request.ordinal == 0:
                return failure(FailureKind.ROW, code="bad_request", status=400)
            return answer()

        scheduler = scheduler_for(ScriptedClient(script))
        await scheduler.drive(rows(), scheduler.complete, deliver)
        assert [type(result) for result in results] == [Failure, Answer]
        assert asyncio.get_running_loop().time() < 1

    run_virtual(main)


def test_a_refusal_of_the_run_waits_a_little_for_rows_to_come() -> None:
    """If one comes and is answered, it is the row's; if none comes, the run ends."""

    async def main(another: bool) -> list[object]:
        results: list[object] = []
        over = asyncio.Event()

        async def rows() -> AsyncIterator[Request]:
            yield Request(ordinal=0, prompt="refused")
            await asyncio.sleep(1)
            if another:
                yield Request(ordinal=1, prompt="good")
            await asyncio.wait_for(over.wait(), 60)

        def deliver(result: object) -> None:
            results.append(result)
            if len(results) == 2:
                over.set()

        async def script(request: Request) -> Answer | Failure:
            if request.ordinal == 0:
                return failure(FailureKind.RUN, code="forbidden", status=403)
            await asyncio.sleep(5)
            return answer()

        scheduler = scheduler_for(ScriptedClient(script))
        drive = asyncio.ensure_future(scheduler.drive(rows(), scheduler.complete, deliver))
        await asyncio.sleep(30)
        over.set()
        await drive
        return results

    results = run_virtual(lambda: main(True))
    assert [type(result) for result in results] == [Answer, Failure]
    with pytest.raises(AccessError):
        run_virtual(lambda: main(False))


def test_a_row_that_is_cancelled_in_its_pause_leaves_nothing_behind() -> None:
    """Others that pause are woken in time, the run's end reaches them, and no timer stays."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            if request.ordinal < 2:
                return failure(FailureKind.TRANSIENT, code="server_error", retry_after=50.0)
            await asyncio.sleep(20)
            return failure(FailureKind.LOCAL, code="no_file")

        scheduler = scheduler_for(ScriptedClient(script), max_concurrency=3)
        first, second, last = (asyncio.ensure_future(scheduler.complete(r)) for r in requests(3))
        await asyncio.sleep(1)
        assert scheduler.statistics().delayed == 2
        first.cancel()
        ends = await asyncio.gather(first, second, last, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError, RunError, RunError]
        assert asyncio.get_running_loop().time() < 30
        await scheduler.aclose()

    run_virtual(main)


def test_many_providers_are_counted_together() -> None:
    """A server may name a new one each time; what is kept of them is bounded."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            return replace(answer(), provider=f"provider {request.ordinal}")

        scheduler = scheduler_for(ScriptedClient(script), max_concurrency=1)
        await scheduler.drive(requests(100), scheduler.complete, lambda _: None)
        counts = scheduler.statistics().served
        assert len(counts) == 65
        assert counts[("", "others")].answers == 36

    run_virtual(main)


def test_more_capacity_is_tried_at_once() -> None:
    """A limit that has settled climbs again, and says why."""

    async def main() -> None:
        client = served(8, 1.0)
        scheduler = scheduler_for(client)
        await scheduler.drive(requests(600), scheduler.complete, lambda _: None)
        assert scheduler.statistics().limiter.phase != "ramping up"
        scheduler.note_capacity("3 replicas")
        limiter = scheduler.statistics().limiter
        assert (limiter.phase, limiter.reason) == ("ramping up", "3 replicas")

    run_virtual(main)


def test_nothing_is_begun_after_the_runs_end() -> None:
    """A row that comes while others are still in flight is not sent."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            if request.ordinal == 0:
                return failure(FailureKind.LOCAL, code="no_file")
            await asyncio.sleep(5)
            return answer()

        client = ScriptedClient(script)
        scheduler = scheduler_for(client, max_concurrency=4)
        broken, slow, late = requests(3)
        in_flight = asyncio.ensure_future(scheduler.complete(slow))
        await asyncio.sleep(1)
        with pytest.raises(RunError):
            await scheduler.complete(broken)
        with pytest.raises(RunError):
            await scheduler.complete(late)
        assert isinstance(await in_flight, Answer)
        assert late not in client.sent

    run_virtual(main)


def test_a_pause_ends_in_time_behind_one_that_was_given_up() -> None:
    """A row that is cancelled in its pause holds up none that pauses longer."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            if client.attempts(request.ordinal) > 1:
                return answer()
            pause = 50.0 + 10 * request.ordinal
            return failure(FailureKind.TRANSIENT, code="server_error", retry_after=pause)

        client = ScriptedClient(script)
        scheduler = scheduler_for(client, max_concurrency=2)
        first, second = (asyncio.ensure_future(scheduler.complete(r)) for r in requests(2))
        await asyncio.sleep(1)
        first.cancel()
        assert isinstance(await second, Answer)
        assert asyncio.get_running_loop().time() == pytest.approx(60, abs=1)

    run_virtual(main)


def test_a_run_whose_time_was_used_up_before_sends_nothing() -> None:
    """The hours of earlier processes count, too."""

    async def main() -> None:
        loop, client, done = asyncio.get_running_loop(), ScriptedClient(steady), list[object]()
        account = Account(
            parse_budget("2h"), Bound(), clock=loop.time, began=loop.time() - 7201, earlier=None
        )
        scheduler = scheduler_for(client)
        await scheduler.drive(requests(3), scheduler.complete, done.append, None, account)
        assert (done, client.sent) == ([], [])
        assert account.is_exhausted

    run_virtual(main)
