"""Networks from files: ONNX graphs and exported programs."""

from pathlib import Path
from typing import Any

from torch import nn

from snellen.network.shadow import ExamineError

SUFFIXES = (".onnx", ".pt2")


def is_network_file(name: str) -> bool:
    """Whether `name` is that of a file that `load_network` reads, by its suffix."""
    return Path(name).suffix.lower() in SUFFIXES


def load_network(path: Path, *, batch: int = 1, size: int = 224) -> tuple[nn.Module, Any]:
    """The network in a file, and inputs of the shapes that it was made for.

    What an ONNX file leaves open is `batch` and `size`; a program's inputs are those it was exported with, or None.
    Raises ExamineError when there is no such file, it is of another kind, or it cannot be loaded safely.
    """
    if not path.is_file():
        raise ExamineError(f"{path}: no such file")
    if path.suffix.lower() == ".onnx":
        from snellen.network.onnx import load_onnx

        network = load_onnx(path)
        return network, network.example_inputs(batch, size)
    if path.suffix.lower() != ".pt2":
        raise ExamineError(f"{path}: expected a network as {' or '.join(SUFFIXES)}")
    from snellen.network.program import load_program, sample_inputs

    program = load_program(path)
    told = sample_inputs(path)
    if told is None:
        return program, None
    args, kwargs = told
    return program, kwargs if kwargs and not args else args
