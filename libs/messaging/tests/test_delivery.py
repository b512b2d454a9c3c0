"""The whole of it: said here, heard there, worked on, over a broker with real offsets."""

from chassis.database import Sessions
from contracts.facts import DocumentUploaded
from contracts.topics import DOCUMENTS
from messaging import jobs
from messaging.delivery import Delivery
from messaging.fences import Fence
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from libs.messaging.tests.samples import SomeWork, some_settings, until, uploaded


async def note(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
    if fence.hear(fact.version):
        await jobs.add(session, kind="some", subject=fact.document_id, version=fact.version, owner=fact.owner_id)


async def test_what_is_said_is_heard_and_worked_on(engine: AsyncEngine, sessions: Sessions, kafka: str) -> None:
    work = SomeWork()
    delivery = Delivery(
        "some",
        some_settings(kafka),
        engine,
        subscriptions=[Subscription(DOCUMENTS, {DocumentUploaded: note})],
        works=[work],
    )
    async with delivery.running():
        fact = uploaded()
        async with sessions.begin() as session:
            Outbox("some").add(session, fact)
        await until(lambda: len(work.finished) == 1)
        assert work.finished[0].subject == fact.subject
        assert await delivery.readiness["kafka"]() is None
