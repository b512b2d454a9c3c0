"""Our retrieval as LangChain knows it: a retriever whose vector half is `langchain_chroma.Chroma`."""

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from qa.passages import Passage, PassageId, Scope
from qa.retrieving import Retrieve
from qa.steps import Steps


class HybridRetriever(BaseRetriever):
    """Finds documents for one question of one person: what it may see is part of the retriever, not of the query."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    retrieve: Retrieve
    scope: Scope
    top_k: int
    steps: Steps
    previous: str | None = None

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        del run_manager
        found = await self.retrieve(query, scope=self.scope, top_k=self.top_k, steps=self.steps, previous=self.previous)
        return [as_document(passage) for passage in found]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        raise NotImplementedError("ask it asynchronously: ainvoke")


def as_document(passage: Passage) -> Document:
    """The passage as a LangChain document; its id is the chunk's."""
    return Document(
        id=str(passage.id),
        page_content=passage.text,
        metadata={
            "document": passage.id.document,
            "version": passage.id.version,
            "ordinal": passage.id.ordinal,
            "filename": passage.filename,
            "page": passage.page,
            "start": passage.start,
            "end": passage.end,
            "score": passage.score,
        },
    )


def as_passage(document: Document) -> Passage:
    """The passage that the document was made from."""
    known = document.metadata
    return Passage(
        id=PassageId(known["document"], known["version"], known["ordinal"]),
        filename=known["filename"],
        page=known["page"],
        start=known["start"],
        end=known["end"],
        text=document.page_content,
        score=known["score"],
    )
