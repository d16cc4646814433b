"""Time suppression and fusion of boxes against what users call today, interleaved in one run on one core.

    python benchmarks/suppression.py [--peers FOLDER] [--rounds 15]

Peers: torchvision and OpenCV are dependencies; ensemble-boxes is found in FOLDER, made by
`pip install --no-deps --target FOLDER ensemble-boxes`. Set OMP_NUM_THREADS=1. What is kept must agree, else the script
stops: with torchvision and the tensor forms to the box, with OpenCV to the box on whole pixels, with ensemble-boxes to
1e-5. Each time is the least of the rounds, in which the calls take turns: what else runs on the machine only adds.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision import ops

from snellen.models.detection.parts.matrix_nms import fast_nms, matrix_nms
from snellen.models.detection.parts.nms import batched_nms, diou_nms, nms
from snellen.models.detection.parts.soft_nms import soft_nms
from snellen.models.detection.parts.wbf import weighted_boxes_fusion


def clustered(count: int, seed: int, objects: int | None = None, size: float = 640.0) -> tuple[Tensor, Tensor]:
    """Boxes (count, 4) scattered about objects (one to 20 boxes), as a detector gives them, and scores; float32."""
    rng = np.random.default_rng(seed)
    objects = objects or max(1, count // 20)
    centre, side = rng.uniform(0, size, (objects, 2)), np.exp(rng.normal(3.6, 0.7, (objects, 2)))
    own = rng.integers(0, objects, count)
    middle = centre[own] + rng.normal(0, 0.12, (count, 2)) * side[own]
    wh = side[own] * np.exp(rng.normal(0, 0.15, (count, 2)))
    xyxy = np.concatenate([middle - wh / 2, middle + wh / 2], axis=1).astype(np.float32)
    return torch.from_numpy(xyxy), torch.from_numpy(rng.random(count).astype(np.float32))


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Least milliseconds of each call after one warm-up, the calls taking turns; a slow one fewer turns."""
    taken: dict[str, float] = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        taken[name] = time.perf_counter() - start
    repeats = max(2, min(20 * rounds, int(rounds * 0.1 / sum(taken.values()))))
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name] = min(taken[name], time.perf_counter() - start)
    return {name: 1e3 * seconds for name, seconds in taken.items()}


def show(title: str, times: dict[str, float], bar: float | None = None) -> None:
    """Print the times, and how many times longer than the first each takes."""
    print(title + (f"   (bar {bar:g}x)" if bar else ""))
    ours = next(iter(times.values()))
    for name, ms in times.items():
        print(f"  {name:58s} {ms:10.3f} ms  {ms / ours:7.1f}x", flush=True)


def same(told: bool, what: str) -> None:
    """Stop where a peer keeps something else."""
    if not told:
        raise SystemExit(f"results differ: {what}")


def greedy(rounds: int) -> None:
    """Greedy suppression of one class, and of 80 classes, at IoU 0.5."""
    for count, bar in ((300, 3.0), (3000, 4.0), (30_000, 20.0)):
        boxes, scores = clustered(count, 1)
        same(torch.equal(nms(boxes, scores, 0.5), ops.nms(boxes, scores, 0.5)), f"nms at {count}")
        calls: dict[str, Callable[[], Any]] = {
            "Snellen: nms": lambda b=boxes, s=scores: nms(b, s, 0.5),
            "torchvision.ops.nms": lambda b=boxes, s=scores: ops.nms(b, s, 0.5),
            "Snellen: diou_nms": lambda b=boxes, s=scores: diou_nms(b, s, 0.5),
        }
        show(f"{count:,} clustered boxes, {len(nms(boxes, scores, 0.5)):,} kept", interleaved(calls, rounds), bar)
    boxes, scores = clustered(30_000, 1, objects=100)
    calls = {
        "Snellen: nms": lambda: nms(boxes, scores, 0.5),
        "torchvision.ops.nms": lambda: ops.nms(boxes, scores, 0.5),
    }
    show(f"30,000 boxes of 100 objects, {len(nms(boxes, scores, 0.5)):,} kept", interleaved(calls, rounds), 20.0)
    for count in (300, 3000, 30_000):
        boxes, scores = clustered(count, 1)
        labels = torch.randint(0, 80, (count,), generator=torch.Generator().manual_seed(0))
        calls = {
            "Snellen: batched_nms": lambda b=boxes, s=scores, c=labels: batched_nms(b, s, c, 0.5),
            "torchvision.ops.batched_nms": lambda b=boxes, s=scores, c=labels: ops.batched_nms(b, s, c, 0.5),
        }
        show(f"{count:,} clustered boxes of 80 classes", interleaved(calls, rounds))


def soft(rounds: int) -> None:
    """Soft suppression, both decays, until scores of 0.01.

    OpenCV compares IoU and limit in float32: at 0.3 whole pixels make many IoU that equal it there and exceed 0.3.
    """
    for count in (300, 1000, 3000):
        boxes, scores = clustered(count, 1)
        boxes = boxes.round()
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).int().numpy()
        told = scores.numpy()
        for decay, method in (
            ("linear", cv2.dnn.SOFT_NMSMETHOD_SOFTNMS_LINEAR),
            ("gaussian", cv2.dnn.SOFT_NMSMETHOD_SOFTNMS_GAUSSIAN),
        ):

            def ours(b: Tensor = boxes, s: Tensor = scores, d: Any = decay) -> Any:
                return soft_nms(b, s, decay=d, iou=0.31, min_score=0.01)

            def theirs(b: Any = xywh, s: Any = told, m: int = method) -> Any:
                return cv2.dnn.softNMSBoxes(b, s, 0.01, 0.31, sigma=0.5, method=m)

            same(set(ours()[0].tolist()) == set(np.ravel(theirs()[1]).tolist()), f"soft-NMS, {decay}, at {count}")
            calls = {f"Snellen: soft_nms, {decay}": ours, "cv2.dnn.softNMSBoxes": theirs}
            show(f"{count:,} clustered boxes on whole pixels", interleaved(calls, rounds), 3.0)


def tensor_fast(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Fast NMS as YOLACT writes it: an N x N matrix."""
    order = scores.argsort(descending=True)
    return order[ops.box_iou(boxes[order], boxes[order]).triu_(1).amax(0) <= iou]


def tensor_matrix(boxes: Tensor, scores: Tensor, sigma: float) -> Tensor:
    """Matrix NMS as SOLOv2 writes it: N x N matrices; the new scores, best old score first."""
    order = scores.argsort(descending=True)
    iou = ops.box_iou(boxes[order], boxes[order]).triu_(1)
    covered = iou.amax(0)[:, None]
    return scores[order] * (torch.exp(-(iou**2) / sigma) / torch.exp(-(covered**2) / sigma)).amin(0)


def at_once(rounds: int) -> None:
    """Fast and Matrix NMS against their tensor forms."""
    for count, bar in ((300, None), (1000, None), (3000, 10.0)):
        boxes, scores = clustered(count, 1)
        same(torch.equal(fast_nms(boxes, scores, 0.5), tensor_fast(boxes, scores, 0.5)), "fast NMS")
        left = matrix_nms(boxes, scores)[1]
        theirs = tensor_matrix(boxes, scores, 0.5).sort(descending=True).values
        same(torch.allclose(left, theirs, atol=1e-5), "matrix NMS")
        calls: dict[str, Callable[[], Any]] = {
            "Snellen: fast_nms": lambda b=boxes, s=scores: fast_nms(b, s, 0.5),
            "N x N tensors": lambda b=boxes, s=scores: tensor_fast(b, s, 0.5),
        }
        show(f"{count:,} clustered boxes", interleaved(calls, rounds), bar)
        calls = {
            "Snellen: matrix_nms": lambda b=boxes, s=scores: matrix_nms(b, s),
            "N x N tensors": lambda b=boxes, s=scores: tensor_matrix(b, s, 0.5),
        }
        show(f"{count:,} clustered boxes", interleaved(calls, rounds), bar)


def fusion(rounds: int) -> None:
    """Weighted boxes fusion of three models."""
    try:
        from ensemble_boxes import weighted_boxes_fusion as peer  # type: ignore[import-not-found]
    except ImportError:
        print("ensemble-boxes is not there: see --help")
        return
    rng = np.random.default_rng(0)
    for count in (300, 1000, 3000, 10_000):
        models = []
        for m in range(3):
            boxes, scores = clustered(count // 3, 7, size=1000.0)
            moved = (boxes + torch.from_numpy(rng.normal(0, 2, boxes.shape).astype(np.float32))).clamp(1, 999) / 1000
            usable = (moved[:, 2:] > moved[:, :2]).all(1)
            told = (scores * 0.8 + 0.01 + 0.03 * m)[usable]
            models.append((moved[usable], told, torch.arange(count // 3)[usable] % 4))
        parts: Any = list(zip(*models, strict=True))
        plain = [[part.numpy() for part in kind] for kind in parts]
        for kind in ("avg", "max", "box_and_model_avg", "absent_model_aware_avg"):
            ours = weighted_boxes_fusion(*parts, weights=[1, 2, 3], confidence=kind)  # type: ignore[arg-type]
            theirs = peer(*plain, weights=[1, 2, 3], conf_type=kind)
            same(len(ours[0]) == len(theirs[0]), f"fusion, {kind}: {len(ours[0])} and {len(theirs[0])} boxes")
            same(np.allclose(ours[1].numpy(), theirs[1], atol=1e-5), f"fusion, {kind}: scores")
            # Boxes of equal score may stand in another order.
            rows = [np.lexsort(np.round(part, 4).T) for part in (ours[0].numpy(), theirs[0])]
            same(np.allclose(ours[0].numpy()[rows[0]], theirs[0][rows[1]], atol=1e-3), f"fusion, {kind}: boxes")
        calls: dict[str, Callable[[], Any]] = {
            "Snellen: weighted_boxes_fusion": lambda p=parts: weighted_boxes_fusion(*p),
            "ensemble_boxes.weighted_boxes_fusion": lambda p=plain: peer(*p),
        }
        show(f"{count:,} boxes of three models and four classes", interleaved(calls, rounds), 50.0)


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="folder with ensemble-boxes")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if options.peers:
        sys.path.append(options.peers)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for table in (greedy, soft, at_once, fusion):
        table(options.rounds)


if __name__ == "__main__":
    main()
