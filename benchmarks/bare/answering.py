"""An answer in one script: embed the question, query Chroma, stream what the model says."""

from time import perf_counter
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from benchmarks.bare.pipeline import Pipeline
from benchmarks.people import Heard
from benchmarks.provider import KEY, MODEL

PASSAGES = 8
PASSAGE = "A passage of a document as it is put before the model, of usual length. " * 12


class Answering:
    """Over what a pipeline has brought into its collection. The passages' texts are at hand."""

    def __init__(self, pipeline: Pipeline, base_url: str) -> None:
        self._pipeline = pipeline
        self._chat = ChatOpenAI(model=MODEL, api_key=SecretStr(KEY), base_url=base_url, stream_usage=True)

    async def asks(self, question: str) -> Heard:
        """When its first word and its end came."""
        began, first = perf_counter(), 0.0
        vector: Any = await self._pipeline.embeddings.aembed_query(question)
        found = self._pipeline.collection.query(query_embeddings=[vector], n_results=PASSAGES)
        passages = "\n\n".join(f"[{place}] {PASSAGE}" for place, _ in enumerate(found["ids"][0], 1))
        messages = [SystemMessage("Answer from the passages."), HumanMessage(f"{passages}\n\n{question}")]
        async for piece in self._chat.astream(messages):
            if piece.text and not first:
                first = perf_counter() - began
        return Heard(first_token=first, whole=perf_counter() - began)
