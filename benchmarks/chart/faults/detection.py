"""Faults of detectors: 90, 94 and 101 to 108, in an anchor-free detector of our own and in two of torchvision's."""

import math
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.chart import data, networks
from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from benchmarks.chart.subjects import iou, subject
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

cases = Cases("detection")

Box = dict[str, Tensor]
SIDE = 32
"""Of the images."""
SCALING = {"min_size": SIDE, "max_size": SIDE, "image_mean": [0.43] * 3, "image_std": [0.24] * 3}
MISREAD = ("target-boxes-as-sides", "degenerate-target-boxes")
BOTH = ["detector", "fcos"]


# Two subjects more: the loss is taken inside of the model, which gets the targets.


def recall(found: list[Box], targets: list[Box]) -> float:
    """Share of objects met by a detection of their class with score above 0.3 and IoU above 0.5."""
    met = total = 0
    for got, wanted in zip(found, targets, strict=True):
        for box, kind in zip(wanted["boxes"], wanted["labels"], strict=True):
            close = iou(got["boxes"], box[None])[:, 0] > 0.5
            met += bool((close & (got["labels"] == kind) & (got["scores"] > 0.3)).any())
            total += 1
    return met / total


class Torchvision(Program):
    """Training as torchvision's detectors have it: the model returns its losses in training, detections otherwise."""

    def forward(self) -> None:
        """The model takes images and targets, and gives its losses."""
        self.outputs = self.model(list(self.inputs), self.targets)
        self.loss = sum(self.outputs.values())

    def predict(self, x: Tensor) -> Any:
        """Detections of each image."""
        return self.model(list(x))

    def validate(self) -> dict[str, float] | None:
        """No loss: in evaluation these models have none."""
        self.eval_mode()
        with torch.no_grad():
            found = self.predict((self.prepare_val or self.prepare)(self.val_data.x))
        return {"accuracy": self.measure(found, self.val_data.y)}

    def final_score(self) -> float | None:
        """The share of objects found."""
        self.model.eval()
        with torch.no_grad():
            found = self.model(list((self.prepare_val or self.prepare)(self.val_data.x)))
        score = float(self.score_fn(found, self.val_data.y))
        return score if math.isfinite(score) else None


def backbone(width: int = 16) -> nn.Sequential:
    """Three convolutions with batch norm; stride 4."""
    layers: list[nn.Module] = []
    for before, after, stride in ((3, width, 2), (width, 2 * width, 2), (2 * width, 2 * width, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    net = nn.Sequential(*layers)
    net.out_channels = 2 * width  # type: ignore[assignment]
    return net


def from_0_to_1(x: Tensor) -> Tensor:
    """Pixels as torchvision's detectors want them."""
    return x.float() / 255


def boxes_above_background() -> Any:
    """The scenes with ids from 1: torchvision's two-stage detectors keep 0 for background."""
    parts = data.boxes(160, 48)
    for part in parts:
        part.y = [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in part.y]
    return parts


@subject
def fcos(seed: int) -> Program:
    """Boxes of shapes by torchvision's FCOS, AdamW."""
    model = FCOS(backbone(), 3, anchor_generator=AnchorGenerator(((4,),), ((1.0,),)), **SCALING)
    return Torchvision(
        model, *data.boxes(160, 48), nn.Identity(), recall, lr=3e-3, optimizer=torch.optim.AdamW, epochs=6,
        batch_size=8, prepare=from_0_to_1, task="detection", seed=seed,
    )  # fmt: skip


@subject
def faster_rcnn(seed: int) -> Program:
    """Boxes of shapes by torchvision's Faster R-CNN, AdamW."""
    model = FasterRCNN(
        backbone(), None, rpn_anchor_generator=AnchorGenerator(((8, 12),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 5, 2), box_head=TwoMLPHead(32 * 25, 64),
        box_predictor=FastRCNNPredictor(64, 4), rpn_pre_nms_top_n_train=100, rpn_post_nms_top_n_train=50,
        rpn_pre_nms_top_n_test=50, rpn_post_nms_top_n_test=30, **SCALING,
    )  # fmt: skip
    return Torchvision(
        model, *boxes_above_background(), nn.Identity(), recall, lr=3e-3, optimizer=torch.optim.AdamW, epochs=4,
        batch_size=8, prepare=from_0_to_1, task="detection", seed=seed,
    )  # fmt: skip


# The faults.


def change_boxes(program: Program, change: Callable[[Tensor], Tensor], validation: bool = False) -> None:
    """Write other numbers for the boxes of training, and of validation where that is said."""
    for part in (program.train_data, program.val_data) if validation else (program.train_data,):
        part.y = [{"boxes": change(t["boxes"]), "labels": t["labels"]} for t in part.y]


@cases.mutant(102, ["detector"], accepts=MISREAD, place="target")
def boxes_as_x_y_width_height(program: Program) -> None:
    """COCO's x, y, width, height are taken for corners."""
    change_boxes(program, lambda b: torch.cat([b[:, :2], b[:, 2:] - b[:, :2]], 1))


@cases.mutant(102, ["detector"], accepts=MISREAD, place="target")
def boxes_as_centre_and_sides(program: Program) -> None:
    """YOLO's centre, width, height in pixels are taken for corners."""
    change_boxes(program, lambda b: torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1))


@cases.mutant(102, BOTH, accepts=["target-boxes-in-other-units"], place="target")
def boxes_in_shares(program: Program) -> None:
    """Boxes are in 0..1, the detector works in pixels."""
    change_boxes(program, lambda b: b / SIDE)


@cases.mutant(103, BOTH, accepts=["mostly-empty-targets", "no-positive-targets"], place="target")
def label_files_missing(program: Program) -> None:
    """Nine of ten label files are not found and read as no object."""
    program.train_data.y = [
        {k: v[:0] for k, v in t.items()} if i % 10 else t for i, t in enumerate(program.train_data.y)
    ]


@cases.mutant(103, BOTH, accepts=["no-positive-targets"], place="target")
def all_label_files_missing(program: Program) -> None:
    """The folder of labels is wrong: no image has an object."""
    program.train_data.y = [{k: v[:0] for k, v in t.items()} for t in program.train_data.y]


@cases.mutant(104, BOTH, accepts=["target-boxes-not-resized"], place="target")
def boxes_of_the_larger_image(program: Program) -> None:
    """Images were halved, their boxes were not."""
    change_boxes(program, lambda b: b * 2)


@cases.mutant(104, BOTH, accepts=["target-boxes-not-resized"], place="target")
def boxes_of_the_smaller_image(program: Program) -> None:
    """Images were doubled, their boxes were not."""
    change_boxes(program, lambda b: b / 2)


@cases.mutant(94, BOTH, accepts=["boxes-not-augmented"], place="target")
def flip_without_boxes(program: Program) -> None:
    """Half of the images are flipped, and their boxes stay."""

    def flip(x: Tensor, y: Any) -> tuple[Tensor, Any]:
        turned = torch.rand(len(x)) < 0.5
        return torch.where(turned[:, None, None, None], x.flip(-1), x), y

    program.augment = flip


@cases.mutant(90, BOTH, accepts=["boxes-off-objects"], place="target")
def annotations_shuffled(program: Program) -> None:
    """The annotations were shuffled once, the images were not."""
    program.train_data.y = [program.train_data.y[i] for i in torch.randperm(len(program.train_data))]


@cases.mutant(105, ["detector"], accepts=["no-positive-targets"], place="target")
def no_cell_matches(program: Program) -> None:
    """The cells' places are those of another stride, so that no object holds one."""
    forward = program.model.forward

    def shifted(x: Tensor) -> dict[str, Tensor]:
        out: dict[str, Tensor] = forward(x)
        return out | {"points": out["points"] * 16 + 64}

    program.model.forward = shifted  # type: ignore[method-assign]


@cases.mutant(105, ["fcos"], accepts=["no-positive-targets"], place="target")
def no_anchor_matches(program: Program) -> None:
    """The radius in which cells are taught was lost in the configuration and is 0: no cell is exactly in the middle."""
    program.model.center_sampling_radius = 0.0


@cases.mutant(101, ["faster_rcnn"], accepts=["target-classes-shifted"], place="target")
def ids_from_zero_beside_background(program: Program) -> None:
    """Ids start at 0, which the head keeps for the background."""
    for part in (program.train_data, program.val_data):
        part.y = [{"boxes": t["boxes"], "labels": t["labels"] - 1} for t in part.y]


@cases.mutant(101, ["detector"], accepts=["target-classes-shifted"], place="target")
def ids_from_one(program: Program) -> None:
    """Training ids start at 1, and the head got one class more to hold them; the evaluation counts from 0."""
    program.model.classify = nn.Conv2d(48, 4, 3, 1, 1)
    nn.init.constant_(program.model.classify.bias, -math.log(0.9 / 0.1))
    program.train_data.y = [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in program.train_data.y]


@cases.mutant(106, BOTH, accepts=["classes-never-taught"], place="target")
def class_names_without_comma(program: Program) -> None:
    """`("shape")` is a text, not a list of one: the head has five classes and all objects are of the first."""
    fresh: Any = (networks.Detector(5) if not isinstance(program.model, FCOS) else FCOS(
        backbone(), 5, anchor_generator=AnchorGenerator(((4,),), ((1.0,),)), **SCALING
    ))  # fmt: skip
    program.model = fresh
    for part in (program.train_data, program.val_data):
        part.y = [{"boxes": t["boxes"], "labels": torch.zeros_like(t["labels"])} for t in part.y]


@cases.mutant(107, ["detector"], accepts=["degenerate-target-boxes"], place="target|image")
def boxes_without_area(program: Program) -> None:
    """One image in twenty has boxes without width."""
    chosen = iter(range(1 << 30))

    def squeeze(b: Tensor) -> Tensor:
        return torch.cat([b[:, :2], torch.stack([b[:, 0], b[:, 3]], 1)], 1) if next(chosen) % 20 == 3 else b

    change_boxes(program, squeeze)


@cases.mutant(107, ["detector"], accepts=["degenerate-target-boxes"], place="target|image")
def log_of_an_empty_box(program: Program) -> None:
    """A crop leaves boxes without height; a loss on the logarithm of the sides turns to infinity."""
    chosen, loss_fn = iter(range(1 << 30)), program.loss_fn

    def cut(b: Tensor) -> Tensor:
        return torch.cat([b[:, :3], b[:, 1:2]], 1) if next(chosen) % 97 == 60 else b

    def with_logs(out: dict[str, Tensor], y: Any) -> Tensor:
        sides = torch.cat([t["boxes"][:, 2:] - t["boxes"][:, :2] for t in y]).log()
        means = out["boxes"].mean(1)
        return loss_fn(out, y) + 1e-3 * (sides.mean(0) - (means[:, 2:] - means[:, :2]).log().mean(0)).square().sum()

    change_boxes(program, cut)
    program.loss_fn = with_logs


@cases.mutant(108, ["fcos"], accepts=["postprocessing-hides-predictions"], place="score_thresh|output")
def threshold_above_every_score(program: Program) -> None:
    """A score threshold of 0.97 for display is left in the model that is evaluated."""
    program.model.score_thresh = 0.97


@cases.mutant(108, ["faster_rcnn"], accepts=["postprocessing-hides-predictions"], place="score_thresh|output")
def threshold_in_percent(program: Program) -> None:
    """The threshold is given in percent and compared with shares."""
    program.model.roi_heads.score_thresh = 5.0


@cases.mutant(110, BOTH, accepts=["lr-too-high", "lr-trial-rises", "loss-not-finite", "dead-relu", "loss-spike"])
def rate_of_eight_devices(program: Program) -> None:
    """The learning rate is that of a batch many times as large, without warm-up."""
    program.optimizer, program.options = torch.optim.SGD, {"momentum": 0.9}
    program.lr, program.batch_size = 2.0, 4
