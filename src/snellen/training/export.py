"""A network as a file that runs without Snellen: ONNX or `torch.export`, kept only if it equals the original.

Input is what the network was trained on: `images` (N, 3, S, S) float32, RGB, scaled to 0..1, less the mean, by the
standard deviation; N is free. What the outputs are is decided by the task (`outputs_of`) and written in the file, with
class names, size and normalisation, as JSON under the name `snellen`.
"""

import dataclasses
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snellen._version import __version__
from snellen.files import plain_json, written_whole
from snellen.training.export_check import ExportError, differences, paired_differences, run_onnx, run_pt2

__all__ = ["ExportError", "Exported", "export_model", "outputs_of"]

Format = Literal["onnx", "pt2"]
TOLERANCE = 1e-4
"""Largest difference allowed, relative to the output's own largest value where that is above 1."""
TRACED, CHECKED = 2, 3
"""Images of the batch that is traced, and of the one that is compared: another, so that a fixed batch size shows."""
META = "snellen"
"""Key of the description in an ONNX file's metadata; `snellen.json` is the file's name within a `.pt2`."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from the original."""

    path: Path
    format: Format
    outputs: Mapping[str, tuple[int, ...]]
    """Name -> shape for a batch of `CHECKED` images."""
    per_image: frozenset[str]
    """Those whose first axis is the image; the others are the same for any images."""
    differences: Mapping[str, float]
    """Name -> largest absolute difference from the original."""
    checked_by: str
    """What ran the file."""
    description: Mapping[str, Any]
    """The description within the file."""

    def __str__(self) -> str:
        shapes = []
        for name, shape in self.outputs.items():
            sides = ", ".join(["N" if name in self.per_image else str(shape[0]), *map(str, shape[1:])])
            told, difference = self.description["outputs"][name], self.differences[name]
            shapes.append(f"  {name} ({sides}): {told}; largest difference {difference:.2g}")
        size = self.path.stat().st_size / 2**20
        head = (
            f"{self.path}: {self.format}, {size:.1f} MiB, equal to the original on {CHECKED} images ({self.checked_by})"
        )
        return "\n".join([head, *shapes])


def outputs_of(model: nn.Module, outputs: Any) -> dict[str, Tensor]:
    """The outputs of a network by name, as they go into a file.

    A detector that can say boxes and scores by tensors alone (`decoded`) gives these, before suppression; of others
    the tensors of its raw outputs are taken as they are, and a tensor alone is `logits`.
    """
    decode = getattr(model, "decoded", None)
    if decode is not None:
        boxes, scores = decode(outputs)
        return {"boxes": boxes, "scores": scores}
    if isinstance(outputs, Tensor):
        return {"logits": outputs}
    return dict(_tensors("", outputs))


def _tensors(name: str, value: Any) -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(name or "output", value)]
    if dataclasses.is_dataclass(value):
        parts = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        parts = [(str(i), part) for i, part in enumerate(value)]
    else:
        return []
    return [found for key, part in parts for found in _tensors(f"{name}_{key}" if name else key, part)]


MEANINGS = {
    "boxes": "boxes before suppression, x1 y1 x2 y2 in pixels of the input",
    "scores": "score of each box for each class, 0..1, before suppression",
    "logits": "scores of each class before the softmax",
}
AFTER_SUPPRESSION = {
    "boxes": "the best boxes, best first, after suppression (IoU 0.5, by class), x1 y1 x2 y2 in pixels of the input",
    "scores": "score of each box, 0..1; 0 where there is none",
    "labels": "class of each box, counted from 0; -1 where there is none",
    "masks": "what is covered of each box, in even cells of it, 0..1; the object from 0.5 on",
}
"""Of a network in two stages, which looks at no more than the best regions and so suppresses on its way."""


class _Face(nn.Module):
    """The network with a tuple of tensors as its output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self.names: list[str] = []
        self.suppresses = hasattr(model, "program")
        """It says what it detects, by a program of its own."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.model.program(images) if self.suppresses else outputs_of(self.model, self.model(images))
        self.names = list(found)
        return tuple(found.values())

    def meaning(self, name: str) -> str:
        """What the output of that name is."""
        return (AFTER_SUPPRESSION if self.suppresses else MEANINGS).get(name, "raw output of the network")


@torch.no_grad()
def export_model(
    model: nn.Module,
    path: Path,
    *,
    format: Format,
    image_size: int,
    description: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write `model` to `path`, compare the file's outputs with the model's on `CHECKED` images of noise, and keep it.

    The file is written whole, or what was there stays. The model is used in eval mode, and left as it was.

    Args:
        model: On the CPU.
        path: The file; what is there is replaced.
        format: "onnx" needs the packages onnx and onnxscript.
        image_size: Side of the square input, pixels.
        description: What is told of the network in the file: class names, normalisation ...
        tolerance: Largest difference allowed, relative to the output's largest absolute value where that is above 1.

    Raises:
        ExportError: The network cannot be written so, or the file's outputs differ from the model's.
        OSError: The file cannot be written.
    """
    if format == "onnx":
        _need_onnx()
    if getattr(model, "regions_from_outside", False):
        raise ExportError(
            f"{type(model).__name__} looks at regions that selective search proposes, which is no network: "
            "train a detector that proposes its own, such as faster-rcnn"
        )
    modes = [(module, module.training) for module in model.modules()]
    face = _Face(model).eval()
    try:
        with _quiet():
            return _export(face, path, format, image_size, dict(description or {}), tolerance)
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporters say of their own inside is left out; what goes wrong is an error all the same."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _export(
    face: _Face, path: Path, format: Format, image_size: int, description: dict[str, Any], tolerance: float
) -> Exported:
    noise = torch.Generator().manual_seed(0)
    shown = torch.randn(CHECKED, 3, image_size, image_size, generator=noise)
    values = face(shown)
    expected = {name: value.numpy() for name, value in zip(face.names, values, strict=True)}
    per_image = frozenset(name for name, value in expected.items() if value.shape[:1] == (CHECKED,))
    if not expected:
        raise ExportError(f"{_name(face)} has no tensors among its outputs: there is nothing to export")
    description |= {
        "made_by": f"snellen {__version__}",
        "input": f"images (N, 3, {image_size}, {image_size}) float32, RGB; (pixels / 255 - mean) / std",
        "outputs": {
            name: face.meaning(name) + ("" if name in per_image else "; the same for any images") for name in expected
        },
    }
    if face.suppresses and format == "pt2":
        description["needs"] = "torchvision, imported before the file is loaded"
    text = json.dumps(plain_json(description), ensure_ascii=False)
    program = _traced(face, torch.randn(TRACED, 3, image_size, image_size, generator=noise), format)
    with written_whole(path) as temporary:
        if format == "onnx":
            _write_onnx(program, temporary, list(expected), text, _name(face))
        else:
            with temporary.open("wb") as file:
                torch.export.save(program, file, extra_files={f"{META}.json": text})
        try:
            found, checked_by = (run_onnx if format == "onnx" else run_pt2)(temporary, shown)
        except Exception as error:  # runtimes raise many kinds
            raise ExportError(f"the {format} file does not run and is not kept: {_first(error)}") from error
        got, called = dict(zip(expected, found, strict=True)), f"the {format} file"
        shapes = {name: value.shape for name, value in expected.items()}
        if face.suppresses:
            listed = [{k: v.numpy() for k, v in rows.items()} for rows in face.model.program_rows(face.model(shown))]
            gaps, alike = paired_differences(listed, got, shapes, tolerance, called)
            checked_by = f"{alike}; {checked_by}"
        else:
            gaps = differences(expected, got, tolerance, called)
    return Exported(path, format, shapes, per_image, gaps, checked_by, description)


def _name(face: _Face) -> str:
    return type(face.model).__name__


def _traced(face: _Face, example: Tensor, format: Format) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    try:
        return torch.export.export(face, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:  # torch.export raises many kinds
        why = f"its steps or shapes depend on what it sees, or on how many images: {_first(error)}"
        raise ExportError(f"{_name(face)} cannot be exported to {format}: {why}") from error


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"ONNX needs the package {error.name}: pip install 'snellen[onnx]'") from error


def _write_onnx(program: torch.export.ExportedProgram, path: Path, names: Sequence[str], text: str, name: str) -> None:
    try:
        written = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=list(names), verbose=False
        )
        if written is None:
            raise ExportError("the exporter returned nothing")
        written.model.metadata_props[META] = text
        written.save(path, external_data=False)
    except OSError:
        raise
    except Exception as error:  # the exporter raises many kinds
        raise ExportError(f"{name} cannot be exported to onnx: {_first(error)}") from error


def _first(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
