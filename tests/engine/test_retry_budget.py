"""Retries that wait for a sign of life: who goes on, when, and that nobody is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

from scripted_client import run_virtual

from distilabel_endpoints._engine.retry_budget import RetryBudget


class Waiting:
    """A deferral on the running loop, and what became of those who wait."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.told = 0
        self.deferral = RetryBudget(self.loop, self._tell)
        self.gone: list[tuple[int, float]] = []
        self.tasks: dict[int, asyncio.Task[Any]] = {}

    def _tell(self) -> None:
        self.told += 1

    async def enter(self, *numbers: int) -> None:
        for number in numbers:
            self.tasks[number] = self.loop.create_task(self._wait(number))
        await asyncio.sleep(0)

    async def enter_for(self, seconds: float, *numbers: int) -> None:
        for number in numbers:
            self.tasks[number] = self.loop.create_task(self._wait(number, seconds))
        await asyncio.sleep(0)

    async def _wait(self, number: int, at_most: float | None = None) -> None:
        await self.deferral.wait(number, at_most)
        self.gone.append((number, self.loop.time()))

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.gone]


def test_each_answer_lets_two_go_oldest_first() -> None:
    """So that they come back as fast as they are answered."""

    async def main() -> None:
        waiting = Waiting()
        await waiting.enter(*range(5))
        assert (len(waiting.deferral), waiting.told) == (5, 5)
        for expected in ([0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]):
            waiting.deferral.answered(waiting.loop.time())
            await asyncio.sleep(0)
            assert waiting.numbers == expected
        assert len(waiting.deferral) == 0

    run_virtual(main)


def test_without_an_answer_one_probe_at_a_time_is_sent() -> None:
    """Further and further apart, up to 15 seconds; one that is out holds up the next."""

    async def main() -> None:
        waiting = Waiting()
        await waiting.enter(*range(40))
        probes: list[float] = []
        for _ in range(12):
            await asyncio.sleep(100)  # nothing more comes while the probe is out
            number, moment = waiting.gone[-1]
            assert len(waiting.gone) == len(probes) + 1
            probes.append(moment)
            waiting.deferral.ended(number + 1)  # not the probe: changes nothing
            waiting.deferral.ended(number)
        gaps = [round(moment % 100, 6) for moment in probes]
        assert gaps[:3] == [1.0, 1.6, 2.56]
        assert gaps[-1] == 15.0
        assert waiting.numbers == list(range(12))

    run_virtual(main)


def test_an_answer_brings_the_probes_closer_again() -> None:
    """The next outage is asked about soon."""

    async def main() -> None:
        waiting = Waiting()
        await waiting.enter(*range(20))
        for _ in range(5):
            await asyncio.sleep(100)
            waiting.deferral.ended(waiting.numbers[-1])
        waiting.deferral.answered(waiting.loop.time())
        await asyncio.sleep(100)
        waiting.deferral.ended(waiting.numbers[-1])
        before = waiting.loop.time()
        await asyncio.sleep(1.7)
        assert round(waiting.gone[-1][1] - before, 6) == 1.6

    run_virtual(main)


def test_whoever_is_cancelled_is_forgotten() -> None:
    """Neither counted, nor let go in another's place; a cancelled probe makes room for one."""

    async def main() -> None:
        waiting = Waiting()
        await waiting.enter(0, 1, 2)
        waiting.tasks[0].cancel()
        await asyncio.sleep(0)
        assert len(waiting.deferral) == 2
        waiting.tasks[1].cancel()  # in the same step as the answer
        waiting.deferral.answered(waiting.loop.time())
        await asyncio.sleep(0)
        assert waiting.numbers == [2]
        await waiting.enter(3)
        waiting.tasks[3].cancel()
        await asyncio.sleep(10)  # the timer finds nobody, and is not a probe
        await waiting.enter(4)
        await asyncio.sleep(100)
        assert waiting.numbers == [2, 4]

    run_virtual(main)


def test_clearing_gives_back_whoever_waits() -> None:
    """The caller tells them; no timer is left."""

    async def main() -> None:
        waiting = Waiting()
        await waiting.enter(0, 1)
        futures = waiting.deferral.clear()
        assert (len(futures), len(waiting.deferral)) == (2, 0)
        for future in futures:
            future.set_exception(KeyError())
        await asyncio.sleep(100)
        assert waiting.gone == []
        assert all(isinstance(task.exception(), KeyError) for task in waiting.tasks.values())

    run_virtual(main)


def test_an_answer_that_was_on_its_way_lets_nobody_go() -> None:
    """Only those go on that failed before the answered attempt began."""

    async def main() -> None:
        waiting = Waiting()
        await waiting.enter(0)
        failed = waiting.loop.time()
        await asyncio.sleep(0.5)
        await waiting.enter(1)
        for began, expected in ((failed - 0.1, []), (failed + 0.1, [0]), (failed + 0.5, [0, 1])):
            waiting.deferral.answered(began)
            await asyncio.sleep(0)
            assert waiting.numbers == expected

    run_virtual(main)


def test_those_that_wait_for_a_time_all_continue_at_an_answer() -> None:
    """They are few: an outage of seconds is not to cost each of them a minute."""

    async def main() -> None:
        waiting = Waiting()
        await waiting.enter(0, 1, 2)
        await waiting.enter_for(60.0, *range(3, 10))
        waiting.deferral.answered(waiting.loop.time())
        await asyncio.sleep(0)
        assert sorted(waiting.numbers) == [0, 1, *range(3, 10)]

    run_virtual(main)


def test_those_that_wait_for_a_time_continue_after_it() -> None:
    """Whether or not there is an answer. To let go those that wait for nothing else leaves them."""

    async def main() -> None:
        waiting = Waiting()
        await waiting.enter_for(60.0, 0, 1)
        await waiting.enter(2)
        waiting.deferral.let_go()
        await asyncio.sleep(0)
        assert waiting.numbers == [2]
        await asyncio.sleep(50)
        assert waiting.numbers == [2, 0], "one probe"
        await asyncio.sleep(20)
        assert waiting.gone[-1] == (1, 60.0)
        assert len(waiting.deferral) == 0

    run_virtual(main)
