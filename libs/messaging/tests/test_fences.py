"""Fences in the database: locked first, and by everybody."""

import asyncio
from uuid import uuid4

from chassis.database import Sessions
from messaging import fences

from libs.messaging.tests.samples import ready


async def test_a_subject_never_heard_of_gets_a_fence(sessions: Sessions) -> None:
    subject = uuid4()
    async with sessions.begin() as session:
        fence = await fences.lock(session, subject)
        assert (fence.version, fence.live, fence.failed, fence.deleted_at) == (0, 0, [], None)
    async with sessions() as session:
        assert await fences.read(session, subject) is not None
        assert await fences.read(session, uuid4()) is None


async def test_what_is_changed_on_the_fence_is_kept(sessions: Sessions) -> None:
    outcome = ready()
    async with sessions.begin() as session:
        fence = await fences.lock(session, outcome.subject)
        fence.hear(3)
        fence.fail(2)
        fence.conclude(outcome)
        fence.delete()
    async with sessions.begin() as session:
        fence = await fences.lock(session, outcome.subject)
        assert (fence.version, fence.failed, fence.is_deleted) == (3, [2], True)
        assert fence.outcome_of(1) == outcome


async def test_ten_that_lock_a_new_subject_at_once_follow_one_another(sessions: Sessions) -> None:
    async def add_one() -> None:
        async with sessions.begin() as session:
            fence = await fences.lock(session, "new")
            fence.version += 1

    await asyncio.gather(*(add_one() for _ in range(10)))
    async with sessions() as session:
        fence = await fences.read(session, "new")
        assert fence is not None
        assert fence.version == 10


async def test_many_are_locked_in_one_order(sessions: Sessions) -> None:
    subjects = [str(uuid4()) for _ in range(5)]

    async def lock_all(order: list[str]) -> None:
        async with sessions.begin() as session:
            assert set(await fences.lock_many(session, order)) == set(subjects)

    await asyncio.gather(*(lock_all(subjects if n % 2 else subjects[::-1]) for n in range(10)))


async def test_a_shared_fence_lets_others_share_and_nobody_change(sessions: Sessions) -> None:
    subjects = [uuid4(), uuid4()]
    async with sessions.begin() as session:
        assert len(await fences.share(session, subjects)) == 2, "what is not there yet is made, to be kept, too"
    async with sessions.begin() as one, sessions.begin() as two:
        assert len(await fences.share(one, subjects)) == 2
        assert set(await fences.share(two, subjects)) == {str(subject) for subject in subjects}

        async def delete() -> None:
            async with sessions.begin() as session:
                (await fences.lock(session, subjects[0])).delete()

        deleting = asyncio.create_task(delete())
        done, _ = await asyncio.wait([deleting], timeout=0.2)
        assert not done
        await one.commit()
        await two.commit()
        await deleting
