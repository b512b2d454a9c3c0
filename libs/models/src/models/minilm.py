"""all-MiniLM-L6-v2 as an ONNX graph.

The graph is a few kilobytes; its weights stay in the safetensors file and are mapped from there, so that the
processes of one machine share them. Architecture: BERT (Devlin et al. 2019) with 6 layers, 12 heads, exact GELU,
then the mean over the tokens, then length 1 (sentence-transformers' modules.json).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HIDDEN = 384
HEADS = 12
LAYERS = 6
LAYER_NORM_EPSILON = 1e-12
MASKED = -10_000.0
"""Added to the score of a padding token before the softmax."""


@dataclass(frozen=True)
class Weight:
    """Where one tensor lies in the file, in bytes from its beginning."""

    shape: tuple[int, ...]
    offset: int
    length: int


def read_weights(file: BinaryIO) -> dict[str, Weight]:
    """The table of contents of a safetensors file: its length in 8 bytes, then JSON, then the tensors."""
    size = int.from_bytes(file.read(8), "little")
    contents = json.loads(file.read(size))
    return {
        name: Weight(tuple(entry["shape"]), 8 + size + entry["data_offsets"][0], _length(entry["data_offsets"]))
        for name, entry in contents.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def build(weights_file: Path) -> bytes:
    """The graph: `ids` and `mask` (batch, tokens), both int64, give `vectors` (batch, 384) of length 1."""
    with weights_file.open("rb") as file:
        graph = _Graph(weights_file.name, read_weights(file))
    hidden, mask = _embeddings(graph)
    attention_bias = _attention_bias(graph, mask)
    for layer in range(LAYERS):
        hidden = _layer(graph, f"encoder.layer.{layer}.", hidden, attention_bias)
    _pool(graph, hidden, mask)
    return graph.serialized()


class _Graph:
    """Nodes and initializers as they are added; a node is named after its output."""

    def __init__(self, location: str, weights: dict[str, Weight]) -> None:
        self._location = location
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"constant.{value.dtype}.{value.tolist()}"
        self._tensors.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def weight(self, name: str) -> str:
        if name not in self._tensors:
            self._tensors[name] = _external(name, self._weights[name], self._location)
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights[name].shape

    def serialized(self) -> bytes:
        tokens = ["batch", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info(name, TensorProto.INT64, tokens) for name in ("ids", "mask")],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", HIDDEN])],
            list(self._tensors.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return bytes(model.SerializeToString())


def _embeddings(graph: _Graph) -> tuple[str, str]:
    first = graph.constant(np.array(0, np.int64))
    step = graph.constant(np.array(1, np.int64))
    positions = graph.add("Range", first, graph.add("Gather", graph.add("Shape", "ids"), step), step)
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "ids")
    places = graph.add("Gather", graph.weight("embeddings.position_embeddings.weight"), positions)
    kind = graph.add("Gather", graph.weight("embeddings.token_type_embeddings.weight"), first)
    total = graph.add("Add", graph.add("Add", words, places), kind)
    return _norm(graph, total, "embeddings.LayerNorm"), graph.add("Cast", "mask", to=TensorProto.FLOAT)


def _attention_bias(graph: _Graph, mask: str) -> str:
    missing = graph.add("Sub", graph.scalar(1), mask)
    return graph.add("Unsqueeze", graph.add("Mul", missing, graph.scalar(MASKED)), graph.integers(1, 2))


def _layer(graph: _Graph, name: str, hidden: str, attention_bias: str) -> str:
    seen = _attention(graph, name + "attention.", hidden, attention_bias)
    attended = _norm(graph, graph.add("Add", seen, hidden), name + "attention.output.LayerNorm")
    inner = graph.add("Gelu", _linear(graph, attended, name + "intermediate.dense"))
    outer = _linear(graph, inner, name + "output.dense")
    return _norm(graph, graph.add("Add", outer, attended), name + "output.LayerNorm")


def _attention(graph: _Graph, name: str, hidden: str, attention_bias: str) -> str:
    query = _heads(graph, _linear(graph, hidden, name + "self.query"), order=[0, 2, 1, 3])
    key = _heads(graph, _linear(graph, hidden, name + "self.key"), order=[0, 2, 3, 1])
    value = _heads(graph, _linear(graph, hidden, name + "self.value"), order=[0, 2, 1, 3])
    scale = graph.scalar(1 / math.sqrt(HIDDEN / HEADS))
    scores = graph.add("Mul", graph.add("MatMul", query, key), scale)
    shares = graph.add("Softmax", graph.add("Add", scores, attention_bias), axis=-1)
    context = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", context, graph.integers(0, 0, HIDDEN))
    return _linear(graph, joined, name + "output.dense")


def _heads(graph: _Graph, hidden: str, *, order: list[int]) -> str:
    split = graph.add("Reshape", hidden, graph.integers(0, 0, HEADS, HIDDEN // HEADS))
    return graph.add("Transpose", split, perm=order)


def _linear(graph: _Graph, hidden: str, name: str) -> str:
    """x Wᵀ + b over all tokens at once: Gemm wants two dimensions and fuses the bias."""
    rows, columns = graph.shape(name + ".weight")
    flat = graph.add("Reshape", hidden, graph.integers(-1, columns))
    product = graph.add("Gemm", flat, graph.weight(name + ".weight"), graph.weight(name + ".bias"), transB=1)
    shape = graph.add("Concat", graph.add("Shape", "ids"), graph.integers(rows), axis=0)
    return graph.add("Reshape", product, shape)


def _norm(graph: _Graph, hidden: str, name: str) -> str:
    weight, bias = graph.weight(name + ".weight"), graph.weight(name + ".bias")
    return graph.add("LayerNormalization", hidden, weight, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)


def _pool(graph: _Graph, hidden: str, mask: str) -> None:
    masked = graph.add("Mul", hidden, graph.add("Unsqueeze", mask, graph.integers(-1)))
    total = graph.add("ReduceSum", masked, graph.integers(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", mask, graph.integers(1), keepdims=1))
    graph.add("LpNormalization", mean, output="vectors", axis=-1, p=2)


def _external(name: str, weight: Weight, location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=weight.shape, data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("offset", weight.offset), ("length", weight.length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _length(span: list[int]) -> int:
    return span[1] - span[0]
