"""Asking: the question is kept while what it needs is looked for, then its answer is written."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from chassis.failures import Failure
from chassis.ids import uuid7

from qa import chats
from qa.alongside import alongside
from qa.answering import Task, Write
from qa.errors import DocumentNotFound, provider_trouble
from qa.keeping import Keep, NewQuestion
from qa.passages import Passage, Scope
from qa.retrieving import Retrieve
from qa.running import RunningAnswer, RunningAnswers
from qa.statements import Statements
from qa.steps import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as it came in; `chat` is the session that it continues."""

    question: str
    scope: Scope
    top_k: int
    chat: UUID | None = None


class Search:
    """Retrieval alone."""

    def __init__(self, statements: Statements, retrieve: Retrieve) -> None:
        self._statements = statements
        self._retrieve = retrieve

    async def __call__(self, asked: Asked) -> list[Passage]:
        """The passages that fit, best first. Raises `DocumentNotFound` for documents that are not the owner's."""
        found = asyncio.ensure_future(self.look(asked, Steps()))
        await alongside(found, refuse_foreign(self._statements, asked.scope))
        try:
            return await found
        except Failure as failure:
            raise provider_trouble(failure) from failure

    async def look(self, asked: Asked, steps: Steps, previous: str | None = None) -> list[Passage]:
        """What supports an answer, best first."""
        return await self._retrieve(
            asked.question, scope=asked.scope, top_k=asked.top_k, steps=steps, previous=previous
        )


class Ask:
    """Begins answers."""

    def __init__(
        self, statements: Statements, *, search: Search, keep: Keep, write: Write, running: RunningAnswers
    ) -> None:
        self._statements = statements
        self._search = search
        self._keep = keep
        self._write = write
        self._running = running

    async def __call__(self, asked: Asked) -> RunningAnswer:
        """Gives the answer that is now being written; question and session are committed.

        Raises `ChatNotFound`, `DocumentNotFound` and `AccountClosed`; whatever comes later is raised by the answer.
        """
        steps = Steps()
        previous = await self._previous(asked)
        retrieval = asyncio.ensure_future(self._search.look(asked, steps, previous))
        question = NewQuestion(
            owner=asked.scope.owner,
            chat=asked.chat or uuid7(),
            is_new_chat=asked.chat is None,
            question_id=uuid7(),
            answer_id=uuid7(),
            question=asked.question,
        )
        with steps.timed("open"):
            await alongside(retrieval, self._open(question, asked.scope))
        task = Task(question=question, retrieval=retrieval, previous=previous, steps=steps)
        answer = RunningAnswer(question.chat, question.answer_id)
        self._running.start(answer, lambda running: self._write(task, running))
        return answer

    async def _previous(self, asked: Asked) -> str | None:
        if asked.chat is None:
            return None
        return await chats.previous_question(self._statements, asked.scope.owner, asked.chat)

    async def _open(self, question: NewQuestion, scope: Scope) -> None:
        await asyncio.sleep(0)  # retrieval takes longer: it goes first
        await refuse_foreign(self._statements, scope)
        await self._keep.question(question)


async def refuse_foreign(statements: Statements, scope: Scope) -> None:
    """Raises `DocumentNotFound` if a document asked for is not one of the owner's that answer."""
    if scope.documents is None:
        return
    foreign = next(iter(scope.documents & scope.excluded), None)
    foreign = foreign or await chats.foreign_document(statements, scope.owner, scope.documents)
    if foreign is not None:
        raise DocumentNotFound(foreign)
