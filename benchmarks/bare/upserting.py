"""Chroma's own floor: vectors upserted as fast as its client can, without text, by the thousand."""

from time import perf_counter
from typing import Any
from uuid import uuid4

import numpy as np

from benchmarks.bare.pipeline import open_chroma
from benchmarks.provider import DIMENSION

AT_ONCE = 1000
COLLECTIONS = 64


def upserts(chroma_url: str, count: int) -> float:
    """Seconds for so many random vectors, spread over as many collections as an index has; all are dropped after."""
    client = open_chroma(chroma_url)
    name, chance = uuid4().hex, np.random.default_rng(1)
    cosine: Any = {"hnsw": {"space": "cosine"}}
    collections = [
        client.create_collection(f"{name}-{number}", configuration=cosine, embedding_function=None)
        for number in range(COLLECTIONS)
    ]
    some = [chance.standard_normal((AT_ONCE, DIMENSION), np.float32) for _ in range(-(-count // AT_ONCE))]
    began = perf_counter()
    for number, vectors in enumerate(some):
        ids = [f"{name}:{number}:{place}" for place in range(AT_ONCE)]
        metadatas: Any = [{"owner": "bare", "document": name, "ordinal": place} for place in range(AT_ONCE)]
        collections[number % COLLECTIONS].upsert(ids=ids, embeddings=vectors, metadatas=metadatas)
    took = perf_counter() - began
    for collection in collections:
        client.delete_collection(collection.name)
    return took
