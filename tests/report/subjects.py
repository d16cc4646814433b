"""Results to print: a small real dataset of drawn images, findings about it, and one whose every name is hostile."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from snellen.data.facts import BOXES, CLASSES, IMAGES, LEDGER, PROBLEMS, DataFacts
from snellen.evaluation.facts import CONFUSION, CURVES, OBJECTS, PER_CLASS, PREDICTIONS, SCORES, ScoreFacts
from snellen.evaluation.facts import PROBLEMS as SCORE_PROBLEMS
from snellen.facts import table
from snellen.findings import Finding, Fix, FixSafety, Place, Severity, Tier
from snellen.findings.engine import Verdict
from snellen.network.facts import LAYERS, LEVELS, NetworkFacts
from snellen.result import Result
from snellen.watching.facts import EPOCHS, EVENTS, SIGNALS, STEPS, RunFacts

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\n::error::x\u202egnp.exe\x1b[31m{{7*7}}&amp;\udc80%0A"
)
MARKS = ("<script>alert", "<img", "\u202e", "\x1b", "\udc80")
"""What of it must never arrive in a page as it is."""


def finding(rule: str, code: str, severity: Severity = Severity.WARNING, **fields: Any) -> Finding:
    """A finding as the engine would have stamped it."""
    return replace(Finding(**fields), rule=rule, code=code, severity=severity)


def verdict(findings: Iterable[Finding], **fields: Any) -> Verdict:
    """A verdict in the engine's order."""
    order = sorted(findings, key=lambda f: (f.caused_by is not None, -f.severity.level, f.code, -f.rank, str(f.place)))
    ran = tuple(dict.fromkeys(f.rule for f in order)) or ("box-out-of-bounds",)
    return Verdict(**{"findings": tuple(order), "ran": ran, "skipped": {}, **fields})


def dataset(root: Path, images: int = 6, class_name: str = "cell", prefix: str = "images/") -> DataFacts:
    """`images` pictures of 320 x 240 px with three boxes each, written below `root`."""
    rng = np.random.default_rng(0)
    rows, boxes = [], []
    for i in range(images):
        name = f"{prefix}{i:03d}.png"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((240, 320, 3), 30 * (i % 8), np.uint8)
        pixels[60:180, 80:240] = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        split = "val" if i % 3 == 2 else "train"
        rows.append({
            "image": name, "split": split, "listed": True, "exists": True, "bytes": path.stat().st_size,
            "format": "PNG", "mode": "RGB", "width": 320, "height": 240, "exif_orientation": 1, "complete": True,
            "decoded": True, "brightness_p99": 0.5 + i / 100, "contrast": 0.2 + i / 100,
        })  # fmt: skip
        for k in range(3):
            x, y = 20.0 + 90 * k, 30.0 + 40 * k
            boxes.append({
                "image": name, "file": f"labels/{i:03d}.txt", "row": k + 1, "class_id": k % 2,
                "class_name": (class_name, "other")[k % 2], "x1": x, "y1": y, "x2": x + 60, "y2": y + 50 + 10 * k,
                "crowd": False, "usable": True,
            })  # fmt: skip
    classes = [{"class_id": 0, "class_name": class_name, "declared": True}, {"class_id": 1, "class_name": "other"}]
    ledger = [{"record": "box", "file": "labels/000.txt", "row": 9, "image": rows[0]["image"], "reason": "no area"}]
    return DataFacts(
        root=str(root), format="yolo", task="detection", images=table(IMAGES, rows), boxes=table(BOXES, boxes),
        problems=table(PROBLEMS), classes=table(CLASSES, classes), ledger=table(LEDGER, ledger),
        tier_gathered=int(Tier.PIXELS), notes=["no split declared"],
    )  # fmt: skip


def network(layers: int = 12, name: str = "tiny") -> NetworkFacts:
    """A plain stack of convolutions with one detection level."""
    rows = [
        {
            "layer": f"stage{i // 3}.{i}.conv", "kind": "Conv2d", "depth": 3, "order": i, "calls": 1,
            "input_shape": [1, 8, 64, 64], "output_shape": [1, 8, 64, 64], "params": 584, "trainable_params": 584,
            "macs": 2_359_296, "elementwise": 0, "activation_bytes": 131_072, "rf_height": 3.0 + 2 * i,
            "rf_width": 3.0 + 2 * i, "stride": 1.0, "kernel": [3, 3], "groups": 1, "has_bias": True,
        }
        for i in range(layers)
    ]  # fmt: skip
    level = [{"level": 0, "layer": "stage3", "stride": 8.0, "rf": 60.0, "cells": 64, "anchors": []}]
    tables = {**NetworkFacts.empty_tables(), "layers": table(LAYERS, rows), "levels": table(LEVELS, level)}
    return NetworkFacts(
        name=name, task="detection", input_shape=[1, 3, 64, 64], **tables, num_outputs=2, total_params=584 * layers,
        trainable_params=584 * layers, macs=2_359_296 * layers, weight_bytes=2336 * layers,
    )  # fmt: skip


def run(steps: int = 60) -> RunFacts:
    """A loss that falls, with one infinite step."""
    rows = [
        {
            "step": i, "epoch": i // 20, "loss": math.inf if i == 30 else 2 * math.exp(-i / 40), "lr": 0.01,
            "grad_norm": 1.0 + i % 3, "batch_size": 8, "seconds": 0.1, "data_seconds": 0.02, "skipped": False,
        }
        for i in range(steps)
    ]  # fmt: skip
    epochs = [{"epoch": e, "train_loss": 2.0 / (e + 1), "val_loss": 2.2 / (e + 1), "metric": e / 5} for e in range(3)]
    events = [{"step": 30, "kind": "non-finite", "layer": "head", "message": "the loss became infinite", "value": 1.0}]
    return RunFacts(
        steps=table(STEPS, rows), epochs=table(EPOCHS, epochs), signals=table(SIGNALS), events=table(EVENTS, events),
        task="detection", metric_name="mAP50", optimizer="SGD", options={"lr": 0.01},
    )  # fmt: skip


def scores(data: DataFacts, class_name: str = "cell") -> ScoreFacts:
    """Half the objects found, one false positive an image; one metric is undefined."""
    boxes = data.boxes.filter(pl.col("usable")).select("image", "class_name", "x1", "y1", "x2", "y2").to_dicts()
    found = [i % 2 == 0 for i in range(len(boxes))]
    objects = [
        {**b, "found": f, "best_iou": 0.8 if f else 0.1, "score": 0.7 if f else None, "crowd": False}
        for b, f in zip(boxes, found, strict=True)
    ]
    predictions = [
        {**b, "score": 0.6, "iou": 0.8 if f else 0.1, "outcome": "correct" if f else "background"}
        for b, f in zip(boxes, found, strict=True)
    ]
    curve = [
        {"class_name": class_name, "recall": i / 20, "precision": 1 - i / 40, "score": 1 - i / 20} for i in range(21)
    ]
    return ScoreFacts(
        task="detection", split="val", predictions=table(PREDICTIONS, predictions), objects=table(OBJECTS, objects),
        per_class=table(PER_CLASS, [{"class_name": class_name, "objects": 12, "predictions": 10, "ap": 0.4}]),
        curves=table(CURVES, curve), problems=table(SCORE_PROBLEMS),
        confusion=table(CONFUSION, [{"true_class": class_name, "predicted_class": class_name, "count": 8},
                                    {"true_class": class_name, "predicted_class": "(background)", "count": 4}]),
        scores=table(SCORES, [{"metric": "mAP", "value": 0.4, "low": 0.3, "high": 0.5},
                              {"metric": "mAP_large", "value": math.nan}]),
        convention="COCO", images=6, input_size=64, error_costs={"background": 0.1, "missed": 0.2},
    )  # fmt: skip


def result(root: Path) -> Result:
    """A whole exam with three root causes, one of them explaining a fourth finding."""
    data = dataset(root)
    out = [
        finding(
            "box-out-of-bounds", "ANN003", Severity.ERROR, message=f"right edge 1.{i} > 1.00",
            place=Place(file=f"labels/{i % 6:03d}.txt", row=1 + i // 6, image=f"images/{i % 6:03d}.png",
                        box=(20.0, 30.0, 80.0, 80.0)),
            evidence={"outside": 0.15, "edge": "right"}, of=500, rank=float(i),
            fix=Fix(FixSafety.UNSAFE, "clip the box to the image"),
        )
        for i in range(25)
    ]  # fmt: skip
    out.append(
        finding("loss-diverged", "RUN105", message="the loss doubled at step 30", place=Place(step=30),
                evidence={"value": 4.0, "limit": 2.0})
    )  # fmt: skip
    out.append(
        finding("class-imbalance", "DST002", Severity.INFO, message="cell is 2 times other", affected=12, of=18,
                evidence={"images": ["images/000.png", "images/404.png", "../secret.png"]})
    )  # fmt: skip
    out.append(
        finding("low-ap75", "EVL110", message="boxes are loose", place=Place(split="val"), caused_by=out[0].fingerprint)
    )
    judged = verdict(
        out, skipped={"dead-layer": "needs RunFacts"}, suppressed=2, in_baseline=1,
        options={"box-out-of-bounds": {"max_outside": 0.02}},
    )  # fmt: skip
    return Result(
        subject="cells", verdict=judged, data=data, network=network(), run=run(), scores=scores(data),
        recipe={"lr": 0.01, "epochs": 3}, environment={"snellen": "0", "python": "3"}, seconds={"check": 1.25},
    )  # fmt: skip


def hostile(root: Path) -> Result:
    """The same with the worst names wherever a user, a dataset or a model can put one."""
    # Polars refuses lone surrogates, so the tables cannot hold one; findings and scalars can.
    clean = HOSTILE.replace("\udc80", "")
    data = dataset(root, class_name=clean)
    data = replace(data, images=data.images.with_columns(split=pl.lit(clean)), notes=[HOSTILE])
    place = Place(
        file=HOSTILE,
        row=3,
        image=HOSTILE,
        class_name=HOSTILE,
        split=HOSTILE,
        layer=HOSTILE,
        box=(0.0, 0.0, math.nan, 9.0),
    )
    out = [
        finding(
            "box-out-of-bounds", "ANN003", Severity.ERROR, message=f"bad {HOSTILE}", place=place,
            evidence={HOSTILE: HOSTILE, "images": [HOSTILE, "/etc/passwd"], "nested": {HOSTILE: [HOSTILE]},
                      "traceback": HOSTILE},
            fix=Fix(FixSafety.UNSAFE, HOSTILE, {"op": HOSTILE}),
        ),
        finding("loss-diverged", "RUN105", message=HOSTILE, place=Place(file=HOSTILE)),
    ]  # fmt: skip
    out.append(finding("low-ap75", "EVL110", message=HOSTILE, caused_by=out[0].fingerprint))
    return Result(
        subject=HOSTILE, verdict=verdict(out, settings_origin=HOSTILE, skipped={"dead-layer": HOSTILE}), data=data,
        network=network(name=HOSTILE), run=replace(run(), metric_name=HOSTILE, optimizer=HOSTILE, loss_kind=HOSTILE),
        scores=replace(scores(data, clean), convention=HOSTILE, split=HOSTILE), recipe={HOSTILE: HOSTILE},
        environment={HOSTILE: HOSTILE}, seconds={HOSTILE: 1.0},
    )  # fmt: skip
