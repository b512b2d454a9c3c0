"""A member of a consumer group in a process of its own: `python -m libs.messaging.tests.member KAFKA DATABASE NAME`."""

import asyncio
import signal
import sys

from chassis.database import create_engine, create_sessions
from chassis.transactions import Transactions
from contracts.facts import DocumentUploaded
from contracts.topics import DOCUMENTS
from messaging.broker_access import BrokerAccess
from messaging.broker_memory import BrokerMemory
from messaging.consuming import Consumption
from messaging.fences import Fence
from messaging.handling import Handling
from messaging.subscribing import Subscription
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


def a_member(kafka: str, transactions: Transactions, name: str) -> Consumption:
    """It writes down who heard what."""

    async def hear(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        await session.execute(
            text("INSERT INTO heard (subject, member) VALUES (:subject, :member)"),
            {"subject": fact.subject, "member": name},
        )

    return Consumption(
        kafka=BrokerAccess(kafka),
        topic="documents",
        group="some.documents",
        handling=Handling(Subscription(DOCUMENTS, {DocumentUploaded: hear}), transactions),
        memory=BrokerMemory(),
        fetch_max_wait_ms=10,
        session_timeout_ms=2000,
    )


async def main(kafka: str, database: str, name: str) -> None:
    engine = create_engine(database)
    running = asyncio.create_task(a_member(kafka, Transactions(engine, create_sessions(engine)), name).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await asyncio.wait([running])
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
