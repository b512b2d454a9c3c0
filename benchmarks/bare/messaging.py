"""From a commit to somebody else's hands without an outbox: a row, its NOTIFY, a record produced and fetched."""

import asyncio
from time import perf_counter

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from messaging.listening import connect_options
from sqlalchemy.ext.asyncio import AsyncEngine

BODY = b"x" * 400  # about what a fact takes


class Messages:
    """Commits, hears of it, produces, fetches: one after the other."""

    def __init__(self, kafka: str, topic: str, engine: AsyncEngine) -> None:
        self._kafka = kafka
        self._topic = topic
        self._options = connect_options(engine)

    async def one_by_one(self, count: int) -> list[float]:
        """Seconds from each commit until its record was there."""
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka, acks="all")
        consumer = AIOKafkaConsumer(self._topic, bootstrap_servers=self._kafka, auto_offset_reset="latest")
        await producer.start()
        await consumer.start()
        await consumer.seek_to_end()
        writing, hearing = await asyncpg.connect(**self._options), await asyncpg.connect(**self._options)
        heard = asyncio.Event()
        await hearing.add_listener("bare", lambda *_: heard.set())
        try:
            return [await self._one(producer, consumer, writing, heard) for _ in range(count)]
        finally:
            await writing.close()
            await hearing.close()
            await consumer.stop()
            await producer.stop()

    async def _one(
        self,
        producer: AIOKafkaProducer,
        consumer: AIOKafkaConsumer,
        writing: "asyncpg.Connection[asyncpg.Record]",
        heard: asyncio.Event,
    ) -> float:
        heard.clear()
        async with writing.transaction():
            await writing.execute("SELECT pg_notify('bare', '')")
        began = perf_counter()
        await heard.wait()
        await producer.send(self._topic, BODY)
        await consumer.getone()
        return perf_counter() - began
