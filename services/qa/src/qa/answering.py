"""Writing one answer: wait for what was found, let the model speak, check what it cites, keep it."""

from collections.abc import Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog
from chassis.database import retry_deadlock
from chassis.failures import Failure
from chassis.metrics import ASKS
from contracts.questions import Answer, AskSources, AskToken
from contracts.questions import Usage as CountedTokens
from models.chat import ChatModel, Delta

from qa.errors import SourcesDeleted, provider_trouble
from qa.keeping import FinishedAnswer, Keep, NewQuestion
from qa.passages import Passage
from qa.prompting import prompt
from qa.running import RunningAnswer
from qa.sources import as_sources
from qa.speaking import Speech
from qa.steps import Steps

log = structlog.stdlib.get_logger(__name__)

NOTHING_FOUND = "Nothing in your documents answers this question."


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A question that has been kept, and the retrieval that runs for it."""

    question: NewQuestion
    retrieval: Awaitable[list[Passage]]
    previous: str | None
    steps: Steps


class Write:
    """Writes answers and keeps them; whatever happens, the place of an answer does not stay open."""

    def __init__(self, keep: Keep, model: ChatModel) -> None:
        self._keep = keep
        self._model = model

    async def __call__(self, task: Task, running: RunningAnswer) -> Answer:
        """Gives the answer once it is stored. Raises what the API has a problem for."""
        try:
            answer = await self._answer(task, running)
        except BaseException as error:
            ASKS.labels("failed").inc()
            await self._give_up(task)
            if isinstance(error, Failure):
                log.warning("the provider failed while answering", code=error.code)
                raise provider_trouble(error) from error
            raise
        ASKS.labels("stopped" if running.stopped else "answered" if answer.answered else "unanswered").inc()
        log.info("answered", answered=answer.answered, sources=len(answer.sources), ms=answer.timings)
        return answer

    async def _answer(self, task: Task, running: RunningAnswer) -> Answer:
        passages = await running.unless_stopped(task.retrieval) or []
        running.emit_next(AskSources(items=as_sources(passages)))  # the model is asked before they are sent
        speech = Speech(len(passages))
        if passages:
            with task.steps.timed("chat"):
                await running.unless_stopped(self._say(task, passages, speech, running))
                _show(running, speech.finish())
        finished = self._finished(task, passages, speech, running)
        with task.steps.timed("store"):
            kept = await retry_deadlock(lambda: self._keep.answer(finished))
        if not kept:
            raise SourcesDeleted
        task.steps.since_start("total")
        return _as_answer(finished, task.steps)

    async def _say(self, task: Task, passages: Sequence[Passage], speech: Speech, running: RunningAnswer) -> None:
        question = task.question.question
        messages = prompt(question, passages, previous_question=task.previous)
        texts = [passage.text for passage in passages]
        async with aclosing(self._model.stream(messages, question=question, passages=texts)) as pieces:
            async for piece in pieces:
                if not isinstance(piece, Delta):
                    speech.usage = piece
                    continue
                first = not speech.text
                _show(running, speech.say(piece.text))
                if first and speech.text:
                    task.steps.since_start("first_token")

    def _finished(
        self, task: Task, passages: Sequence[Passage], speech: Speech, running: RunningAnswer
    ) -> FinishedAnswer:
        answered = bool(speech.text.strip())
        return FinishedAnswer(
            owner=task.question.owner,
            chat=task.question.chat,
            id=task.question.answer_id,
            text=speech.text if answered or running.stopped else NOTHING_FOUND,
            answered=answered,
            stopped=running.stopped,
            sources=as_sources(passages, speech.cited) if answered else [],
            model=self._model.name,
            usage=speech.usage,
        )

    async def _give_up(self, task: Task) -> None:
        try:
            await self._keep.nothing(task.question.answer_id)
        except Exception:
            # A chore removes it later; what went wrong first is what matters.
            log.warning("the place of an answer could not be removed", exc_info=True)


def _show(running: RunningAnswer, text: str) -> None:
    if text:
        running.emit(AskToken(text=text))


def _as_answer(finished: FinishedAnswer, steps: Steps) -> Answer:
    usage = finished.usage
    return Answer(
        answer=finished.text,
        answered=finished.answered,
        session_id=finished.chat,
        message_id=finished.id,
        sources=list(finished.sources),
        model=finished.model,
        usage=usage and CountedTokens(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens),
        timings=steps.milliseconds,
    )
