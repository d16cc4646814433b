"""Time the score curves and the pixel confusion against what users call today, interleaved in one run on one core.

    python benchmarks/score_curves.py [records] [rounds]

Peers, each optional but scikit-learn (a dependency): `pip install torchmetrics hotcoco`. Set OMP_NUM_THREADS=1. The
numbers must agree, else the script stops: with scikit-learn to 1e-9, counts exactly.
"""

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import cv2
import numpy as np
from sklearn import metrics

from snellen.evaluation.binary_curves import binary_summary
from snellen.evaluation.multilabel import evaluate_multilabel
from snellen.evaluation.pixel_confusion import count_pixels
from snellen.evaluation.semantic import evaluate_semantic

CLASSES, SHAPE = 19, (1024, 2048)


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each call after one warm-up, the calls taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: 1e3 * median(values) for name, values in taken.items()}


def show(title: str, times: dict[str, float]) -> None:
    """Print the times and how many times longer than the first each takes."""
    print(title)
    ours = next(iter(times.values()))
    for name, ms in times.items():
        print(f"  {name:58s} {ms:9.2f} ms  {ms / ours:6.1f}x")


def curves(records: int, rounds: int) -> None:
    """ROC AUC, AP and best F1 of one class."""
    rng = np.random.default_rng(0)
    y = rng.random(records) < 0.3
    cases = {
        "float32 in 0..1": (rng.beta(2, 3, records) * 0.8 + 0.2 * y).astype(np.float32),
        "float32 of both signs": (rng.normal(0, 2, records) + y).astype(np.float32),
        "float32 in 0..1, two decimals (ties)": np.round(rng.random(records) * 0.8 + 0.2 * y, 2).astype(np.float32),
        "float64 of both signs": rng.normal(0, 2, records) + y,
    }
    for title, s in cases.items():
        ours, auc, ap = binary_summary(s, y), metrics.roc_auc_score(y, s), metrics.average_precision_score(y, s)
        precision, recall, _ = metrics.precision_recall_curve(y, s)
        f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
        got = (ours.roc_auc, ours.average_precision, ours.best_f1)
        if not np.allclose(np.array(got, dtype=float), (auc, ap, f1), rtol=0, atol=1e-9):
            raise SystemExit(f"numbers differ: {got} against {(auc, ap, f1)}")
        calls: dict[str, Callable[[], Any]] = {
            "Snellen: ROC AUC, AP and best F1": lambda s=s: binary_summary(s, y),
            "scikit-learn roc_auc_score alone": lambda s=s: metrics.roc_auc_score(y, s),
            "scikit-learn average_precision_score alone": lambda s=s: metrics.average_precision_score(y, s),
            "scikit-learn precision_recall_curve alone": lambda s=s: metrics.precision_recall_curve(y, s),
            "(floor) np.sort of the scores": lambda s=s: np.sort(s),
        }
        try:
            import torch
            from torchmetrics.functional.classification import binary_auroc
        except ImportError:
            pass
        else:
            told, labels = (
                torch.from_numpy(1 / (1 + np.exp(-s.astype(np.float64)))),
                torch.from_numpy(y.astype(np.int64)),
            )
            calls["torchmetrics binary_auroc alone, exact"] = lambda a=told, b=labels: binary_auroc(
                a, b, validate_args=False
            )
        show(f"{records:,} records, {title}", interleaved(calls, rounds))


def many_labels(rounds: int) -> None:
    """40,000 images by 80 labels."""
    rng = np.random.default_rng(1)
    y = rng.random((40_000, 80)) < 0.05
    s = np.clip(rng.random(y.shape) * 0.8 + 0.2 * y, 0, 1)
    names, images = [f"l{k}" for k in range(80)], [str(i) for i in range(len(y))]
    times = interleaved(
        {
            "Snellen: AUC, AP and best F1 of each label": lambda: [binary_summary(s[:, k], y[:, k]) for k in range(80)],
            "scikit-learn average_precision_score(average=None)": lambda: metrics.average_precision_score(
                y, s, average=None
            ),
            "scikit-learn roc_auc_score(average=None)": lambda: metrics.roc_auc_score(y, s, average=None),
            "Snellen: evaluate_multilabel, all facts, no intervals": lambda: evaluate_multilabel(
                images, y, s, names, bootstrap=0
            ),
        },
        min(rounds, 3),
    )
    show("40,000 images, 80 labels, float64", times)


def label_maps(noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth label map with an unlabelled border as of Cityscapes, and a prediction like it; both uint8."""
    rng = np.random.default_rng(seed)

    def field(size: tuple[int, int]) -> np.ndarray:
        coarse = rng.normal(size=(CLASSES, *size)).astype(np.float32)
        return np.stack([cv2.resize(one, SHAPE[::-1], interpolation=cv2.INTER_CUBIC) for one in coarse])

    z = field((16, 32))
    true, predicted = z.argmax(0).astype(np.uint8), (z + noise * field((32, 64))).argmax(0).astype(np.uint8)
    true[-100:] = 255
    return true, predicted


def pixels(rounds: int) -> None:
    """The confusion matrix of one Cityscapes-sized image."""
    names = [f"c{k}" for k in range(CLASSES)]
    true, predicted = label_maps(0.3, 0)
    rng = np.random.default_rng(2)
    speckled = np.where(rng.random(SHAPE) < 0.1, rng.integers(0, CLASSES, SHAPE), predicted).astype(np.uint8)

    def by_bincount(t: np.ndarray, p: np.ndarray) -> np.ndarray:
        known = t < CLASSES
        return np.bincount(CLASSES * t[known].astype(np.int64) + p[known], minlength=CLASSES**2).reshape(-1, CLASSES)

    def by_plain_bincount(t: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.bincount((t.astype(np.int64) * 256 + p).ravel(), minlength=65536).reshape(256, 256)

    for title, p in (("smooth regions", predicted), ("10 % of the pixels at random", speckled)):
        ours = count_pixels(true, p, CLASSES).confusion[:, :CLASSES]
        if (ours != by_bincount(true, p)).any() or (ours != by_plain_bincount(true, p)[:CLASSES, :CLASSES]).any():
            raise SystemExit("counts differ")
        calls: dict[str, Callable[[], Any]] = {
            "Snellen: count_pixels": lambda p=p: count_pixels(true, p, CLASSES),
            "np.bincount of the labelled pixels": lambda p=p: by_bincount(true, p),
            "np.bincount of all pixels, 256 x 256": lambda p=p: by_plain_bincount(true, p),
        }
        try:
            import torch
            from torchmetrics.functional.classification import multiclass_confusion_matrix
        except ImportError:
            pass
        else:
            a, b = torch.from_numpy(p.astype(np.int64)), torch.from_numpy(true.astype(np.int64))
            calls["torchmetrics multiclass_confusion_matrix"] = lambda a=a, b=b: multiclass_confusion_matrix(
                a, b, CLASSES, ignore_index=255, validate_args=False
            )
        show(
            f"confusion matrix, {SHAPE[0]} x {SHAPE[1]}, {CLASSES} classes, uint8, {title}",
            interleaved(calls, 3 * rounds),
        )
    show(
        "the same image scored whole",
        interleaved(
            {
                "Snellen: evaluate_semantic without boundaries": lambda: evaluate_semantic(
                    [("a", true, predicted)], names, boundaries=False
                ),
                "Snellen: evaluate_semantic, boundary IoU and F of all classes": lambda: evaluate_semantic(
                    [("a", true, predicted)], names
                ),
            },
            rounds,
        ),
    )


def main(records: int = 1_000_000, rounds: int = 7) -> None:
    """Print every table."""
    curves(records, rounds)
    many_labels(rounds)
    pixels(rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
