"""One battery over every network of ours: it learns, it repeats itself, it is kept, and being watched changes nothing.

Each is built small, at the least input its maps allow; timm's and torchvision's classifiers stand here by one each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import snellen
from snellen.models import create, model_names
from snellen.models.detection import DETECTORS, Detector, Target

CLASSES = 3


@dataclass(frozen=True)
class Subject:
    name: str
    task: str
    size: int = 96
    steps: int = 20
    """In which the loss on one batch must fall by a third."""
    lr: float = 2e-3


SIZES = {"ssd300": 300, "ssd512": 512, "ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320}
WHOLE = [name for name in DETECTORS if "_" in name or name in SIZES]
"""Networks of published size: slow to train on a processor, and so taught for one step only."""
BRIEF: dict[str, Any] = {"steps": 1, "lr": 1e-4}
SUBJECTS = [
    *(Subject(n, "detection", SIZES.get(n, 96), **(BRIEF if n in WHOLE else {})) for n in DETECTORS),
    *(Subject(n, "segmentation", 64) for n in model_names("segmentation") if "_" not in n),
    Subject("small-resnet", "classification", 32),
    Subject("lenet", "classification", 32, steps=60),
    Subject("resnet18", "classification", 64),
    Subject("mobilenet_v3_small", "classification", 64),
]


def scene(size: int, images: int = 2) -> tuple[Tensor, list[Target]]:
    """Bright squares on noise, one class a brightness."""
    generator = torch.Generator().manual_seed(5)
    x = 0.2 * torch.randn(images, 3, size, size, generator=generator)
    targets = []
    for i in range(images):
        left, top, side = size // 8 + 3 * i, size // 6, size // 3
        boxes = torch.tensor([[left, top, left + side, top + side], [size // 2, size // 2, size - 4, size - 6]]).float()
        labels = torch.tensor([i % CLASSES, (i + 1) % CLASSES])
        masks = torch.zeros(2, size, size, dtype=torch.bool)
        for k, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
            x[i, :, y1:y2, x1:x2] += 1.0 + float(labels[k])
            masks[k, y1:y2, x1:x2] = True
        targets.append(Target(boxes, labels, masks))
    return x, targets


def built(subject: Subject) -> nn.Module:
    torch.manual_seed(0)
    return create(subject.name, task=subject.task, num_classes=CLASSES, image_size=subject.size)


def loss_of(subject: Subject, model: nn.Module, x: Tensor, targets: list[Target]) -> Tensor:
    if isinstance(model, Detector):
        outputs = model(x, targets) if model.needs_targets else model(x)
        terms = model.loss(outputs, targets).values()
        return torch.stack([term.total / term.weight.clamp(min=1) for term in terms]).sum()
    logits = model(x)
    if subject.task == "segmentation":
        wanted = torch.stack([t.labels[0] * t.masks[0] for t in targets if t.masks is not None]).long()
        return cross_entropy(logits, wanted)
    return cross_entropy(logits, torch.stack([t.labels[0] for t in targets]))


def answers(model: nn.Module, x: Tensor) -> list[list[Tensor]]:
    """What a user gets of each image, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        outputs = model(x)
        if isinstance(model, Detector):
            return [[f.scores, f.boxes, f.labels.float()] for f in model.detect(outputs, min_score=1e-4, limit=20)]
        return [[row] for row in outputs]


def close(one: list[list[Tensor]], other: list[list[Tensor]], tolerance: float) -> bool:
    pairs = [(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)]
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_battery(subject: Subject, tmp_path: Path) -> None:
    x, targets = scene(subject.size)
    model = built(subject).train()

    # One batch is learned by heart.
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=subject.lr)
    losses = []
    for _ in range(subject.steps):
        loss = loss_of(subject, model, x, targets)
        optimizer.zero_grad()
        loss.backward()
        assert torch.isfinite(loss)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients
        assert all(torch.isfinite(g).all() for g in gradients)
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert subject.steps == 1 or min(losses[-2:]) < 0.67 * losses[0], losses

    # It repeats itself, and an image's answer does not depend on its neighbours.
    whole = answers(model, x)
    assert close(whole, answers(model, x), 0.0)
    assert close(whole, [answers(model, x[i : i + 1])[0] for i in range(len(x))], 1e-3)

    # What is kept is what was there.
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "kept.safetensors")
    torch.manual_seed(1)
    again = create(
        subject.name, task=subject.task, num_classes=CLASSES, image_size=subject.size,
        anchors=getattr(model, "anchor_sides", None),
    )  # fmt: skip
    again.load_state_dict(load_file(tmp_path / "kept.safetensors"))
    assert close(whole, answers(again, x), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.name not in WHOLE], ids=lambda s: s.name)
def test_being_watched_changes_nothing(subject: Subject) -> None:
    def trained(watched: bool) -> dict[str, Any]:
        x, targets = scene(subject.size)
        model = built(subject).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        # The trials, on a copy of the model, have tests of their own; they would take most of the time here.
        watch = snellen.watch(model, optimizer, trials=False) if watched else None
        if watch is not None:
            watch.start()
        torch.manual_seed(3)
        for _ in range(2):
            loss = loss_of(subject, model, x, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if watch is not None:
                watch.step(loss=loss, inputs=x)
        if watch is not None:
            watch.finish()
        return model.state_dict()

    alone, seen = trained(False), trained(True)
    assert all(torch.equal(alone[name], seen[name]) for name in alone)
