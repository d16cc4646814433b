"""What is measured of a detector's boxes, on batches made by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snellen.watching.observers.detection import DetectionObserver
from snellen.watching.observers.observer import Batch, Context

Rows = dict[tuple[str, str | None], dict[str, Any]]


def observe(batches: list[Batch], model: nn.Module | None = None) -> Rows:
    observer = DetectionObserver(Context())
    observer.attach(model or nn.Identity(), [])
    for batch in batches:
        observer.batch(batch)
    observer.detach()
    return {(r["measure"], r.get("phase")): r for r in observer.facts()["measures"]}


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.zeros(count, 3, side, side)


def target(*boxes: tuple[float, ...], labels: list[int] | None = None) -> dict[str, Tensor]:
    ids = labels if labels is not None else [0] * len(boxes)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(ids, dtype=torch.int64),
    }


def training(targets: Any, outputs: Any = None, x: Any = None) -> Batch:
    return Batch(step=0, phase="training", inputs=images() if x is None else x, targets=targets, outputs=outputs)


TWO = [target((2, 2, 10, 12), (5, 5, 5, 9), labels=[1, 3]), target()]


def test_counts_of_images_boxes_and_ids() -> None:
    found = observe([training(TWO)])
    assert (found["target-boxes", "training"]["value"], found["target-boxes", "training"]["of"]) == (2, 2)
    assert found["empty-images", "training"]["value"] == 0.5
    assert (found["label-min", "training"]["value"], found["label-max", "training"]["value"]) == (1, 3)


def test_a_box_without_area_is_named_by_image_and_place() -> None:
    row = observe([training(TWO)])["degenerate-boxes", "training"]
    assert (row["value"], row["step"], row["detail"]) == (1, 0, "image 0 box 1: [5, 5, 5, 9]")


@pytest.mark.parametrize(
    "targets",
    [
        TWO,
        [SimpleNamespace(boxes=t["boxes"], labels=t["labels"]) for t in TWO],
        [{"boxes": t["boxes"], "class_labels": t["labels"]} for t in TWO],
        torch.tensor([[[2, 2, 10, 12, 1], [5, 5, 5, 9, 3.0]], [[0, 0, 0, 0, -1], [0, 0, 0, 0, -1]]]),
        torch.tensor([[0, 1, 6 / 32, 7 / 32, 8 / 32, 10 / 32], [0, 3, 5 / 32, 7 / 32, 0, 4 / 32]]),
    ],
    ids=["dicts", "objects", "other names", "padded", "rows"],
)
def test_targets_are_understood_in_every_layout(targets: Any) -> None:
    found = observe([training(targets)])
    assert found["target-boxes", "training"]["value"] == 2
    assert found["degenerate-boxes", "training"]["value"] == 1
    assert found["boxes-reach", "training"]["value"] == pytest.approx(12)
    assert found["label-max", "training"]["value"] == 3
    assert found["empty-images", "training"]["value"] == 0.5


def test_targets_that_are_among_the_inputs_are_found() -> None:
    found = observe([Batch(step=0, phase="training", inputs=[list(images()), TWO], targets=None, outputs={})])
    assert found["target-boxes", "training"]["value"] == 2


def test_other_tasks_give_nothing() -> None:
    numbers = [torch.rand(shape, generator=torch.Generator().manual_seed(0)) for shape in ((2, 5), (2, 6), (2, 4, 5))]
    for targets in (torch.arange(2), *numbers, torch.zeros(2, 32, 32, dtype=torch.int64), None, [1, 2]):
        assert observe([training(targets, torch.randn(2, 10))]) == {}


def test_boxes_outside_and_units_and_reach() -> None:
    sound = {"logits": torch.zeros(2, 9, 4), "boxes": torch.full((2, 9, 4), 30.0)}
    found = observe([training([target((0, 0, 0.5, 0.5)), target((0.1, 0.2, 0.6, 0.9))], sound)])
    assert found["boxes-in-unit-square", "training"]["value"] == 1
    assert found["model-reach", None]["value"] == 30
    assert found["head-classes", None]["value"] == 4
    found = observe([training([target((0, 0, 40, 20)), target((1, 1, 9, 9))])])
    assert found["boxes-outside", "training"]["value"] == 0.5
    assert found["boxes-outside", "training"]["detail"].startswith("image 0 box 0")


class Head(nn.Module):
    """Two predictions an image, as many as pulled are met by the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        boxes = self.line(x.mean((2, 3))).reshape(-1, 2, 4)
        return {"boxes": boxes, "logits": boxes[..., :2] * 1}


@pytest.mark.parametrize("pulled", [0, 1])
def test_positives_are_predictions_that_the_box_loss_pulls_at(pulled: int) -> None:
    model, observer = Head(), DetectionObserver(Context())
    observer.attach(model, [])
    out = model(images())
    (out["logits"].sum() * 0 + out["boxes"][:, :pulled].square().sum() + out["boxes"].sum() * 0).backward()
    observer.batch(training(TWO, out))
    rows = {r["measure"]: r["value"] for r in observer.facts()["measures"]}
    assert rows["positives"] == pulled  # 2 images x `pulled` predictions for 2 objects
    assert rows["steps-without-positives"] == (pulled == 0)


def test_a_box_loss_of_zero_is_named() -> None:
    losses = {"classification": torch.tensor(1.0), "bbox_regression": torch.tensor(0.0)}
    row = observe([training(TWO, losses)])["box-loss-zero", "training"]
    assert (row["value"], row["detail"]) == (1, "bbox_regression")


def test_detections_and_the_highest_raw_score() -> None:
    empty = [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}] * 2
    model = nn.Module()
    model.cls_logits = nn.Linear(3, 2)
    model.score_thresh = 0.7
    observer = DetectionObserver(Context())
    observer.attach(model, [])
    with torch.no_grad():
        top = model.cls_logits(torch.randn(5, 3)).sigmoid().max()
    observer.batch(Batch(step=3, phase="validation", inputs=images(), outputs=empty))
    rows = {r["measure"]: r for r in observer.facts()["measures"]}
    assert rows["predictions"]["value"] == 0
    assert rows["raw-score-top"]["value"] == pytest.approx(float(top))
    assert (rows["score-threshold"]["value"], rows["score-threshold"]["detail"]) == (0.7, "score_thresh")


def scene(count: int = 64) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Dark images with one bright box each."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(count, 3, 32, 32, generator=draw) * 0.1, []
    for image in x:
        left, top = torch.randint(1, 20, (2,), generator=draw).tolist()
        image[:, top : top + 6, left : left + 10] += 2
        y.append(target((left, top, left + 10, top + 6)))
    return x, y


def test_contrast_tells_which_reading_lies_on_the_objects() -> None:
    x, y = scene()
    sound = observe([training(y, x=x)])
    assert sound["box-contrast", "training"]["value"] > 1.5
    assert sound["box-contrast-better", "training"]["of"] < 0
    assert sound["box-contrast-strange", "training"]["of"] > 8
    for name, change in (
        ("doubled", lambda b: b / 2),
        ("read as x, y, width, height", lambda b: torch.cat([b[:, :2], b[:, 2:] - b[:, :2]], 1)),
        ("x and y swapped", lambda b: b[:, [1, 0, 3, 2]]),
    ):
        row = observe([training([t | {"boxes": change(t["boxes"])} for t in y], x=x)])[
            "box-contrast-better", "training"
        ]
        assert row["detail"] == name
        assert row["of"] > 8


def test_flipped_images_are_seen() -> None:
    x, y = scene()
    half = torch.cat([x[:32], x[32:].flip(-1)])
    row = observe([training(y, x=half)])["mirrored-images", "training"]
    assert row["value"] > 0.25
    assert row["detail"] == "mirrored left to right"
    assert observe([training(y, x=x)])["mirrored-images", "training"]["value"] < 0.1


def test_anchors_and_levels() -> None:
    out = SimpleNamespace(
        logits=torch.zeros(2, 3, 4), offsets=torch.zeros(2, 3, 4), level_sizes=(1, 2),
        anchors=torch.tensor([[2.0, 2, 10, 12], [0, 0, 30, 30], [16, 16, 30, 30]]),
    )  # fmt: skip
    observer = DetectionObserver(Context())
    observer.batch(training([target((2, 2, 10, 12)), target((0, 0, 28, 30))], out))
    rows = [r for r in observer.facts()["measures"] if r["measure"] == "level-positives"]
    assert [(r["index"], r["value"]) for r in rows] == [(0, 1), (1, 1)]


def test_state_goes_on_where_it_was_and_inputs_are_left_alone() -> None:
    x, y = scene()
    before, state = x.clone(), torch.get_rng_state()
    first = DetectionObserver(Context())
    first.batch(training(y, x=x))
    second = DetectionObserver(Context())
    second.load_state_dict(first.state_dict())
    assert first.facts() == second.facts()
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
