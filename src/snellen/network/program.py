"""Networks saved with `torch.export`: loaded only where the file can do nothing but describe a network.

`torch.export.load` unpickles whatever cannot be stored plainly, resolves the names of functions, and evaluates
expressions of sizes as Python: a file from a stranger could run anything. So the archive is looked through first, and
refused unless its tensors are plain, its calls are operators of PyTorch, and its text is what such a file needs.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node

from snellen.network.shadow import ExamineError

CALLS = re.compile(
    r"torch\.ops\.(aten|prims|torchvision)\.(?!__(?!(and|or|xor|lshift|rshift|iand|ior)__))\w+(\.(?!__)\w+)?"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond|while_loop|scan|map_impl)"
    r"|torch\.sym_(int|float|max|min|not|sqrt|sum|ite)"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|index)"
    r"|math\.(ceil|floor|trunc|sqrt)"
)
"""Functions that a program may call."""

SIZES = re.compile(r"([a-z]+\d+|\d+|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|Max|Min|[-+*/(), ])*")
"""Expressions of sizes: symbols such as s0, numbers, and the functions of the sort that sizes are made of."""

TYPES = frozenset({None, "builtins.list", "builtins.tuple", "builtins.dict", "collections.OrderedDict"})
"""Containers that the inputs and outputs may be nested in."""

PLAIN = re.compile(r"[\w.\-+:/ ]*")
FREE = frozenset({"metadata", "treespec_namedtuple_fields", "guards_code", "as_string", "as_strings", "torch_version"})
"""What is kept as text and neither resolved nor evaluated."""


def load_program(path: Path) -> nn.Module:
    """Load a `.pt2` file of `torch.export.save` as modules named and nested as those it was exported from.

    Raises ExamineError when the file is no such archive, or could do more than describe a network.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            refusal = next(_objections(archive), None)
    except (OSError, zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, KeyError, RecursionError) as error:
        raise ExamineError(f"{path}: not a program saved by torch.export ({type(error).__name__})") from error
    if refusal is not None:
        raise ExamineError(f"{path}: not loaded, because {refusal}; export the network anew, or pass the nn.Module")
    try:
        program = torch.export.load(path)
    except Exception as error:
        # The format changes with PyTorch, and so do the errors of what no longer fits.
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExamineError(f"{path}: cannot be loaded by PyTorch {torch.__version__}: {text[:200]}") from error
    return program_module(program)


def program_module(program: "torch.export.ExportedProgram") -> nn.Module:
    """An exported program as modules named, nested and called as those that it was exported from."""
    try:
        network: nn.Module = torch.export.unflatten(program)
    except (AssertionError, RuntimeError, NotImplementedError, KeyError):
        # Not every program keeps its modules apart; the flat one has the same operators.
        return program.module(check_guards=False)
    for module in list(network.modules()):
        written = getattr(module, "_ty", None)
        if isinstance(written, str) and module is not network:
            # Listed under the class that was exported, not the one that replays it.
            module.__class__ = type(written.rpartition(".")[2], (type(module),), {"__doc__": written})
        graph = getattr(module, "graph", None)
        if isinstance(graph, Graph):
            _describe(module, graph)
            for node in graph.nodes:
                node.meta = {}  # The exporter's tensors without storage cannot be copied.
    _without_empty(network)
    return network


def _without_empty(module: nn.Module) -> None:
    """Drop parts that do nothing (identities): a program keeps their names and no graph."""
    for name, part in list(module.named_children()):
        _without_empty(part)
        if type(part) is nn.Module and not part._modules and not part._parameters and not part._buffers:
            delattr(module, name)


def sample_inputs(program_or_path: "torch.export.ExportedProgram | Path") -> Any:
    """The inputs that a program was exported with, positional and by name; None where it holds none."""
    if not isinstance(program_or_path, Path):
        return program_or_path.example_inputs
    with zipfile.ZipFile(program_or_path) as archive:
        names = [n for n in archive.namelist() if "/data/sample_inputs/" in n]
        return torch.load(io.BytesIO(archive.read(names[0])), weights_only=True) if names else None


def _describe(module: nn.Module, graph: Graph) -> None:
    """Geometry of a replayed convolution under the names that PyTorch's layer gives it."""
    calls = [n for n in graph.nodes if n.op == "call_function"]
    weight = module._parameters.get("weight")
    if len(calls) != 1 or weight is None or weight.dim() < 3 or "conv" not in str(calls[0].target):
        return
    count = weight.dim() - 2
    transposed = "transpose" in str(calls[0].target)
    # (x, weight, bias, stride, padding, dilation, groups), transposed with output padding and groups before dilation
    places = {"stride": 3, "dilation": 7 if transposed else 5, "groups": 6}
    module.kernel_size = tuple(int(n) for n in weight.shape[2:])  # type: ignore[assignment]
    for name, place in places.items():
        value = _argument(calls[0], name, place)
        told = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
        whole = tuple(told * count if len(told) == 1 else told)
        setattr(module, name, told[0] if name == "groups" else whole)
    if "bias" not in module._parameters:
        module.register_parameter("bias", None)


def _argument(node: Node, name: str, place: int) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, 1)


def _objections(archive: zipfile.ZipFile) -> Iterator[str]:
    """What the archive holds beyond a plain description of a network."""
    # The archive's own name is the folder that everything lies in.
    files = {name.split("/", 1)[-1]: name for name in archive.namelist()}
    models = [n for n in files if n.startswith("models/") and n.endswith(".json")]
    if not models:
        yield "it holds no exported program"
    for short, name in files.items():
        if short.startswith("data/aotinductor/"):
            yield "it holds compiled code"
        elif short.endswith("_config.json"):
            for stored in json.loads(archive.read(name)).get("config", {}).values():
                if stored.get("use_pickle") or not str(stored.get("path_name")).startswith(("weight_", "tensor_")):
                    yield "it holds pickled objects"
        elif short.startswith(("data/weights/", "data/constants/")) and short.endswith(".pt"):
            yield "its weights are pickled"
        elif short.startswith("data/sample_inputs/") and (samples := archive.read(name)):
            try:
                torch.load(io.BytesIO(samples), weights_only=True)
            except Exception:
                # Whatever the reason, the loader would then unpickle without limits.
                yield "its sample inputs are more than tensors"
    for short in models:
        yield from _texts(json.loads(archive.read(files[short])), "")


def _texts(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not PLAIN.fullmatch(str(name)):
                yield f"it names a value {str(name)[:40]!r}"
            if name not in FREE:
                yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        if key == "expr_str":
            if not SIZES.fullmatch(value):
                yield f"it computes a size by {value[:40]!r}"
        elif key in ("in_spec", "out_spec"):
            if any(kind not in TYPES for kind in _types(json.loads(value))):
                yield "its inputs or outputs are objects of other types than lists, tuples and dictionaries"
        elif key in ("target", "as_operator") or value.startswith(("torch.", "_operator", "math.", "#")):
            if not CALLS.fullmatch(value):
                yield f"it calls {value[:60]!r}"
        elif not PLAIN.fullmatch(value):
            yield f"it holds the text {value[:40]!r}"


def _types(spec: Any) -> Iterator[str | None]:
    if isinstance(spec, list):
        for inner in spec:
            yield from _types(inner)
    elif isinstance(spec, dict):
        if "type" in spec:
            yield spec["type"]
        for name, inner in spec.items():
            if name == "children_spec":
                yield from _types(inner)
