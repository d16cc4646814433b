"""Reads an ONNX file and rebuilds its graph as a module, node by node.

What the graph computes from shapes and constants alone is computed with `onnx.reference` while the network runs, so
that reshapes have their sizes; everything else runs on tensors, which need no values. Weights are those initializers
that an operator reads as weights; a file does not tell buffers that were exported as such from parameters.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snellen.network.onnx.layers import BUFFERS, KINDS, RANKED, WEIGHTS, gates_reordered
from snellen.network.onnx.names import node_names
from snellen.network.onnx.node import Constant, OnnxNode, Value, node_class
from snellen.network.onnx.operators import OPERATORS, TYPES
from snellen.network.onnx.unknown import unknown_operator
from snellen.network.shadow import ExamineError

STEERING = {
    "Resize": (1, 2, 3), "Upsample": (1,), "Clip": (1, 2), "Pad": (1, 2, 3), "Slice": (1, 2, 3, 4),
    "LSTM": (4, 5, 6), "GRU": (4, 5), "RNN": (4, 5),
}  # fmt: skip
"""Inputs that tell how, or where a sequence starts, and hold no weights."""


def load_onnx(path: Path) -> "OnnxNetwork":
    """Read the graph of an ONNX file; weights stored in files beside it are not read, their shapes suffice.

    Raises ExamineError when the file is no ONNX model, or the package `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExamineError(f"{path}: onnx is not installed (pip install 'snellen[onnx]')") from error
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise ExamineError(f"{path}: {error.strerror or error}") from error
    except Exception as error:
        # protobuf raises its own DecodeError, and others by version.
        raise ExamineError(f"{path}: not an ONNX model ({type(error).__name__})") from error
    if not proto.graph.node:
        raise ExamineError(f"{path}: holds no ONNX graph")
    try:
        inferred = onnx.shape_inference.infer_shapes(proto) if proto.ByteSize() < 1 << 30 else proto
    except Exception:
        # Inference refuses graphs that run all the same; it serves only operators that are not known.
        inferred = proto
    return OnnxNetwork(proto, inferred.graph)


class OnnxNetwork(nn.Module):
    """A network from an ONNX graph; call it with the graph's inputs in order, as one tensor each."""

    def __init__(self, proto: Any, inferred: Any) -> None:
        """`proto` is an onnx ModelProto, `inferred` its graph with the shapes that are known."""
        super().__init__()
        graph = proto.graph
        _see_through(graph)
        self._opsets = {o.domain: int(o.version) for o in proto.opset_import}
        initializers = {t.name: t for t in graph.initializer}
        self._inputs = [(i.name, *_declared(i)) for i in graph.input if i.name not in initializers]
        self._outputs = [o.name for o in graph.output]
        self._shapes = {v.name: _declared(v)[1] for v in (*inferred.value_info, *inferred.output)}
        self._weights: dict[str, nn.Parameter | Tensor] = {}
        self._constants, weights = _told_apart(graph, initializers)
        known = set(self._constants)
        names = node_names(graph.node)
        # (output names, input names, path of the module; or the node itself where only shapes are computed)
        self._steps: list[tuple[list[str], list[str], str | bytes]] = []
        for node, name in zip(graph.node, names, strict=True):
            outputs = list(node.output)
            if node.op_type in ("Shape", "Size") or _computable(node, known):
                known.update(o for o in outputs if o)
                self._steps.append((outputs, list(node.input), node.SerializeToString()))
                continue
            module, given = self._node(node, weights)
            _place(self, name, module)
            self._steps.append((outputs, given, name))
        self.num_classes = self._classes(graph)

    def _node(self, node: Any, weights: dict[str, Any]) -> tuple[OnnxNode, list[str]]:
        slots: list[str | Constant | None] = []
        given: list[str] = []
        held: dict[str, nn.Parameter | Tensor] = {}
        for place, name in enumerate(node.input):
            if name in weights:
                told = WEIGHTS.get(node.op_type, ())
                label = told[place] if place < len(told) and told[place] else f"weight_{place}"
                op = node.op_type if label in told else ""
                held[label] = self._weight(op, name, weights[name], label in BUFFERS)
                slots.append(label)
            else:
                slots.append(None)
                given.append(name)
        opset = self._opsets.get(node.domain, 1)
        ours = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        shapes = [self._shapes.get(o) for o in node.output if o]
        function = ours or unknown_operator(node.domain, node.op_type, shapes)
        module = node_class(_kind(node.op_type, held))(
            node.op_type, function, _attributes(node), opset, len([o for o in node.output if o]), slots
        )
        for label, value in held.items():
            if isinstance(value, nn.Parameter):
                module.register_parameter(label, value)
            else:
                module.register_buffer(label, value)
        if node.op_type in ("Conv", "ConvTranspose", "Gemm") and "bias" not in held:
            module.register_parameter("bias", None)
        _describe(module, held.get("weight"))
        return module, given

    def _weight(self, op: str, name: str, proto: Any, buffer: bool) -> nn.Parameter | Tensor:
        if name not in self._weights:
            value = gates_reordered(op, _values(proto))
            self._weights[name] = value if buffer else nn.Parameter(value, requires_grad=value.is_floating_point())
        return self._weights[name]

    def forward(self, *inputs: Tensor) -> Any:
        """Run the graph; returns its output, or a tuple of several."""
        values: dict[str, Value] = {"": None, **self._constants}
        values.update((name, x) for (name, *_), x in zip(self._inputs, inputs, strict=True))
        for outputs, given, step in self._steps:
            arguments = [values[name] for name in given]
            found: Any = (
                self._computed(step, arguments) if isinstance(step, bytes) else self.get_submodule(step)(*arguments)
            )
            several = found if isinstance(found, (tuple, list)) else (found,)
            values.update(zip(outputs, several, strict=False))
        told = tuple(values[name] for name in self._outputs)
        return told[0] if len(told) == 1 else told

    def _computed(self, step: bytes, arguments: Sequence[Value]) -> list[Constant]:
        """A node on constants and shapes alone."""
        from onnx import NodeProto

        node = NodeProto.FromString(step)
        if node.op_type in ("Shape", "Size"):
            shape = [int(n) for n in arguments[0].shape]  # type: ignore[union-attr]
            named = {a.name: int(a.i) for a in node.attribute}
            if node.op_type == "Size":
                return [np.array(int(np.prod(shape, dtype=int)))]
            return [np.array(shape[named.get("start", 0) : named.get("end", len(shape))], dtype=np.int64)]
        return _evaluated(node, arguments, self._opsets)

    def example_inputs(self, batch: int, size: int) -> tuple[Tensor, ...]:
        """Inputs of the declared types and shapes without values; what the file leaves open is `batch` (first axis), 3
        (the second of four), and `size`."""
        made = []
        for _, kind, shape in self._inputs:
            rank = 4 if shape is None else len(shape)
            usual = [batch, 3, *[size] * (rank - 2)] if rank >= 4 else [batch, *[size] * (rank - 1)]
            whole = usual if shape is None else [u if n is None else n for n, u in zip(shape, usual, strict=False)]
            made.append(torch.empty(whole, dtype=kind, device="meta"))
        return tuple(made)

    def _classes(self, graph: Any) -> int | None:
        """Outputs of a last dense layer, where the network gives nothing else."""
        if len(self._outputs) != 1:
            return None
        makers = {o: node for node in graph.node for o in node.output}
        maker = makers.get(self._outputs[0])
        while maker is not None and maker.op_type in ("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Flatten", "Add"):
            maker = next((makers[i] for i in maker.input if i in makers), None)
        shape = self._shapes.get(self._outputs[0])
        dense = maker is not None and maker.op_type in ("Gemm", "MatMul")
        return shape[1] if dense and shape is not None and len(shape) == 2 else None


def _see_through(graph: Any) -> None:
    """Let readers of an Identity of an initializer read the initializer: exporters share equal weights so."""
    stored = {t.name for t in graph.initializer}
    alias: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = alias.get(name, name)
        if node.op_type == "Identity" and node.input[0] in stored:
            alias[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    told = {o.name for o in graph.output}
    if alias and not alias.keys() & told:
        del graph.node[:]
        graph.node.extend(kept)


RANDOM = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"})


def _declared(value: Any) -> tuple[torch.dtype, list[int | None] | None]:
    """Element type and shape that the file states; None for what it leaves open."""
    kind = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim]
    return TYPES.get(kind.elem_type, torch.float32), shape if kind.HasField("shape") else None


def _told_apart(graph: Any, initializers: dict[str, Any]) -> tuple[dict[str, Constant], dict[str, Any]]:
    """Initializers that steer, as values, and those that are weights, as they stand in the file."""
    from onnx import numpy_helper

    weights: dict[str, Any] = {}
    for node in graph.node:
        told = WEIGHTS.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if name not in initializers:
                continue
            proto = initializers[name]
            size = int(np.prod(proto.dims, dtype=int))
            floating = proto.data_type in (1, 10, 11, 16)
            named = place < len(told) and told[place] != "" and len(proto.dims) > 0
            table = node.op_type == "Gather" and place == 0 and len(proto.dims) == 2
            free = floating and size > 1 and place not in STEERING.get(node.op_type, ())
            quantized = proto.data_type in (2, 3) and size > 1
            if _outside(proto) or (floating and (named or table)) or free or quantized:
                weights[name] = proto
    constants = {name: numpy_helper.to_array(t) for name, t in initializers.items() if name not in weights}
    return constants, weights


def _outside(proto: Any) -> bool:
    return bool(proto.data_location == 1)


def _values(proto: Any) -> Tensor:
    """The tensor of an initializer; without values where they lie in another file."""
    from onnx import numpy_helper

    if _outside(proto):
        return torch.empty(tuple(proto.dims), dtype=TYPES.get(proto.data_type, torch.float32), device="meta")
    array = numpy_helper.to_array(proto)
    # PyTorch does not know numpy's extension types (bfloat16, 4 bits).
    plain = array if array.dtype.kind in "fiub" and array.dtype.name != "bfloat16" else array.astype(np.float32)
    return torch.from_numpy(np.array(plain)).to(TYPES.get(proto.data_type, torch.float32))


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import AttributeProto, helper, numpy_helper

    told: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            continue
        value = helper.get_attribute_value(attribute)
        if attribute.type == AttributeProto.TENSOR:
            value = numpy_helper.to_array(value)
        told[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return told


def _computable(node: Any, known: set[str]) -> bool:
    """Whether a node needs no more than shapes and constants, and always gives the same."""
    standard = node.domain in ("", "ai.onnx") and node.op_type not in RANDOM
    branches = any(a.HasField("g") or len(a.graphs) for a in node.attribute)
    return standard and not branches and all(i in known for i in node.input if i)


def _kind(op: str, held: dict[str, nn.Parameter | Tensor]) -> str:
    if op in RANKED and op.startswith("Conv") and "weight" in held:
        return f"{RANKED[op]}{held['weight'].dim() - 2}d"
    if op in RANKED:
        return f"{RANKED[op]}2d"
    return "Linear" if op == "MatMul" and "weight" in held else KINDS.get(op, op)


def _describe(module: OnnxNode, weight: nn.Parameter | Tensor | None) -> None:
    """Geometry under the names that PyTorch's layers give it."""
    if module.op.startswith("Conv") and weight is not None:
        kernel = tuple(int(n) for n in weight.shape[2:])
    elif module.get("kernel_shape"):
        kernel = tuple(int(n) for n in module.get("kernel_shape"))
    else:
        return
    told: dict[str, Any] = {"kernel_size": kernel}
    for name, attribute in (("stride", "strides"), ("dilation", "dilations")):
        told[name] = tuple(int(n) for n in module.get(attribute, [1] * len(kernel)))
    if module.op.startswith("Conv"):
        told["groups"] = int(module.get("group", 1))
    for name, value in told.items():
        setattr(module, name, value)


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    *outer, last = path.split(".")
    for part in outer:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, module)


def _evaluated(node: Any, arguments: Sequence[Value], opsets: dict[str, int]) -> list[Constant]:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    given = {name: value for name, value in zip(node.input, arguments, strict=True) if name}
    graph = helper.make_graph(
        [node], "constants",
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in given],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output if name],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()])
    return [np.asarray(v) for v in ReferenceEvaluator(model).run(None, given)]
