"""The root fixtures, held to what the suites of all packages rely on."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from confluent_kafka.admin import AdminClient


def plain(url: str) -> str:
    return url.replace("+asyncpg", "", 1)


async def test_an_empty_database_belongs_to_its_own_role(database) -> None:
    connection = await asyncpg.connect(plain(await database(None)))
    await connection.execute("CREATE TABLE notes (id int)")
    assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    await connection.close()


async def test_one_role_cannot_enter_the_database_of_another(database, postgres) -> None:
    await postgres.create_role("stranger")
    name = (await database(None)).split("@/")[1].split("?")[0]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(plain(postgres.url(name, "stranger")))


def test_the_broker_has_exactly_our_topics(kafka: str) -> None:
    topics = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=5).topics
    assert {name: len(topic.partitions) for name, topic in topics.items()} == {
        "documents": 24,
        "users": 3,
        "indexes": 1,
    }


async def test_a_token_is_accepted_by_the_verifier(keys, token_for) -> None:
    user = uuid4()
    caller = await keys.verifier.verify(token_for(user, "ada@example.com"))
    assert (caller.user_id, caller.email) == (user, "ada@example.com")


def test_a_pdf_has_a_page_for_each_text(pdf: Callable[[list[str]], bytes], tmp_path: Path) -> None:
    import pypdfium2

    document = pypdfium2.PdfDocument(pdf(["The first fact.", "word " * 100 + "end."]))
    texts = [" ".join(page.get_textpage().get_text_bounded().split()) for page in document]
    assert texts == ["The first fact.", "word " * 100 + "end."]
