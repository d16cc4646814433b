"""Is an exported file the network it was made of? Both see the same images, and what they say is compared.

Raw outputs are compared number by number. Detections have no order to rely on, as a last digit of a score decides it:
each of the original's is to have a partner in the file, of the same class, and each of the file's in the original.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from snellen.errors import UseError

UNPAIRED = 0.05
"""Share of the detections that may lack a partner: rounding decides which of two boxes that overlap by just the limit
of suppression is left, and which of two equal scores comes first. A wrong program has hardly any right."""
Arrays = Mapping[str, NDArray[Any]]


class ExportError(UseError):
    """A network that cannot be written in a format, or that differs from the original when it has been."""


def differences(wanted: Arrays, found: Arrays, tolerance: float, file: str) -> dict[str, float]:
    """Name -> largest absolute difference of the outputs.

    Args:
        wanted: The original's.
        found: The file's.
        tolerance: Relative to the original's largest value where that is above 1.
        file: What the file is called in an error.

    Raises:
        ExportError: One is too large, or is no number, or has another shape.
    """
    result = {}
    for name, value in wanted.items():
        got = np.asarray(found[name])
        _same_shape(name, value.shape, got.shape, file)
        largest = float(np.abs(got.astype(np.float64) - value.astype(np.float64)).max(initial=0.0))
        allowed = _allowed(value, tolerance)
        if not largest <= allowed:
            raise ExportError(
                f"{file}'s {name} differs from the original's by {largest:.3g}, allowed are {allowed:.3g}: "
                "the file is not kept"
            )
        result[name] = largest
    return result


def paired_differences(
    wanted: Sequence[Arrays], found: Arrays, shapes: Mapping[str, tuple[int, ...]], tolerance: float, file: str
) -> tuple[dict[str, float], str]:
    """Name -> largest absolute difference of detections and their partners; and how many were compared, in words.

    Args:
        wanted: The original's detections of each image: "scores", "labels" and others, a row each.
        found: The file's, of all images; those of score 0 are none.
        shapes: Of the file's outputs.
        tolerance: Relative to the original's largest value of an output where that is above 1.
        file: What the file is called in an error.

    Raises:
        ExportError: More than `UNPAIRED` of the detections have no partner, or an output has another shape.
    """
    for name, shape in shapes.items():
        _same_shape(name, shape, np.asarray(found[name]).shape, file)
    result, alone, count = dict.fromkeys(shapes, 0.0), 0, 0
    for image, own in enumerate(wanted):
        there = np.asarray(found["scores"])[image] > 0
        gaps = {}
        worst = np.zeros((len(own["scores"]), int(there.sum())))
        for name, value in own.items():
            got = np.asarray(found[name])[image][there].astype(np.float64)
            gap = np.abs(value.astype(np.float64)[:, None] - got)
            gaps[name] = gap.max(axis=tuple(range(2, gap.ndim)), initial=0.0) if gap.ndim > 2 else gap
            # Also what is no number has no partner.
            share = gaps[name] / (0.5 if name == "labels" else _allowed(value, tolerance))
            worst = np.maximum(worst, np.nan_to_num(share, nan=np.inf))
        count += len(worst)
        alone += max(int((worst.min(axis=k, initial=np.inf) > 1).sum()) for k in (0, 1))
        pairs = np.nonzero(worst.min(axis=1, initial=np.inf) <= 1)[0]
        if len(pairs):
            partners = worst[pairs].argmin(axis=1)
            for name, gap in gaps.items():
                result[name] = max(result[name], float(gap[pairs, partners].max()))
    if alone > UNPAIRED * count:
        raise ExportError(
            f"{alone} of the {count} detections in {file} are not the original's, or their scores are so alike that "
            "rounding orders them, as of an untrained network: the file is not kept"
        )
    return result, f"{count - alone} of {count} detections alike"


def _allowed(value: NDArray[Any], tolerance: float) -> float:
    return tolerance * max(1.0, float(np.abs(value).max(initial=0.0)))


def _same_shape(name: str, wanted: tuple[int, ...], got: tuple[int, ...], file: str) -> None:
    if got != wanted:
        raise ExportError(f"{file}'s {name} has shape {got}, the original's {wanted}: not kept")


def run_onnx(path: Path, shown: Tensor) -> tuple[list[NDArray[Any]], str]:
    """What an ONNX file says of a batch, by onnxruntime where it is installed, else by onnx's own evaluator."""
    feed = {"images": shown.numpy()}
    try:
        import onnxruntime  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load(path)
        onnx.checker.check_model(model)
        evaluator = ReferenceEvaluator(model, new_ops=_operators())
        return list(evaluator.run(None, feed)), f"onnx {onnx.__version__}, reference evaluator"
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feed)), f"onnxruntime {onnxruntime.__version__}"


def _operators() -> list[Any]:
    """Operators of two-stage detectors by torch, as far as files here use them.

    Of the evaluator's own, NonMaxSuppression and RoiAlign go through each cell in Python, which takes minutes, and
    GatherElements fails on all but small matrices.
    """
    from onnx.reference.op_run import OpRun

    class NonMaxSuppression(OpRun):  # type: ignore[misc, unused-ignore]
        def _run(self, boxes: Any, scores: Any, most: Any, iou: Any, **_: Any) -> tuple[NDArray[np.int64]]:
            limit = float(np.asarray(iou).reshape(()))
            kept = torchvision.ops.nms(torch.from_numpy(boxes[0]), torch.from_numpy(scores[0, 0]), limit).numpy()
            return (np.stack([np.zeros_like(kept), np.zeros_like(kept), kept], axis=1),)

    class RoiAlign(OpRun):  # type: ignore[misc, unused-ignore]
        def _run(self, x: Any, rois: Any, images: Any, **how: Any) -> tuple[NDArray[np.float32]]:
            boxes = torch.cat([torch.from_numpy(images)[:, None].to(torch.float32), torch.from_numpy(rois)], dim=1)
            size = (how["output_height"], how["output_width"])
            aligned = how["coordinate_transformation_mode"] == "half_pixel"
            pooled = torchvision.ops.roi_align(
                torch.from_numpy(np.ascontiguousarray(x)), boxes, size, how["spatial_scale"], how["sampling_ratio"],
                aligned,
            )  # fmt: skip
            return (pooled.numpy(),)

    class GatherElements(OpRun):  # type: ignore[misc, unused-ignore]
        def _run(self, x: Any, rows: Any, axis: int = 0) -> tuple[NDArray[Any]]:
            return (torch.gather(torch.from_numpy(x), axis, torch.from_numpy(rows % x.shape[axis])).numpy(),)

    return [NonMaxSuppression, RoiAlign, GatherElements]


def run_pt2(path: Path, shown: Tensor) -> tuple[list[NDArray[Any]], str]:
    """What a `torch.export` file says of a batch."""
    with path.open("rb") as file:
        program = torch.export.load(file)
    return [value.numpy() for value in program.module()(shown)], f"torch {torch.__version__.partition('+')[0]}"
