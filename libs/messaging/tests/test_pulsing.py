"""Whose jobs wait again, and when: not those of a worker that could not say that it lives."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from chassis.transactions import Transactions
from messaging import jobs, pulsing, taking
from messaging.pulsing import Pulse

GAP = 0.5
STEADY = 0.2

Crashes = Callable[[], Awaitable[int]]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulsing, "GAP", timedelta(seconds=GAP))
    monkeypatch.setattr(pulsing, "HOLDERS_FIRST", timedelta(seconds=STEADY))


@pytest.fixture
async def crashes(transactions: Transactions) -> Crashes:
    """How often the job's holder was given up; its lease has run out."""
    async with transactions.begin() as session:
        await jobs.add(session, kind="some", subject="s", version=1, owner="a")
    async with transactions.driver() as driver:
        await taking.take(driver, kind="some", lease=timedelta(seconds=-1), most=1)

    async def counted() -> int:
        async with transactions.driver() as driver:
            return int(await driver.fetchval("SELECT crashes FROM jobs"))

    return counted


async def steady(pulse: Pulse) -> None:
    for _ in range(2):
        await pulse.beat()
        await asyncio.sleep(STEADY)


async def test_a_lease_that_ran_out_is_another_workers_turn_once_pulses_are_steady(
    transactions: Transactions, crashes: Crashes
) -> None:
    woken = list[str]()
    pulse = Pulse(transactions, ["some"], woken.append)
    await pulse.beat()
    assert (await crashes(), woken) == (0, []), "at a start, too, holders come first"
    await asyncio.sleep(STEADY)
    await steady(pulse)
    await pulse.beat()
    assert await crashes() == 1
    assert woken


async def test_a_clock_that_was_set_back_keeps_no_lease_for_ever(transactions: Transactions, crashes: Crashes) -> None:
    pulse = Pulse(transactions, ["some"], lambda _: None)
    await pulse.beat()
    pulse._last = pulse._steady_since = pulse._last + timedelta(minutes=10)  # what it was before
    await pulse.beat()
    await asyncio.sleep(STEADY)
    await steady(pulse)
    await pulse.beat()
    assert await crashes() == 1


async def test_after_a_gap_those_who_hold_jobs_come_first(transactions: Transactions, crashes: Crashes) -> None:
    pulse = Pulse(transactions, ["some"], lambda _: None)
    async with transactions.driver() as driver:
        await driver.execute("UPDATE jobs SET lease_until = clock_timestamp() + interval '1 hour'")
    await steady(pulse)
    async with transactions.driver() as driver:
        await driver.execute("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 second'")
    await asyncio.sleep(2 * GAP)
    await pulse.beat()
    await pulse.beat()
    assert await crashes() == 0


async def test_a_pulse_that_was_held_up_on_its_way_gives_nobody_up(
    transactions: Transactions, crashes: Crashes
) -> None:
    async with transactions.driver() as driver:
        at, _ = await taking.pulse(driver, ["some"], reclaims_until=pulsing.NEVER)
        await taking.pulse(driver, ["some"], reclaims_until=at)
        assert await crashes() == 0
        await taking.pulse(driver, ["some"], reclaims_until=at + timedelta(minutes=1))
        assert await crashes() == 1
