"""One battery for every network of ours, and for a few of others."""

import pytest
import torch
from torch import Tensor, nn

from snellen.models import ModelError, create
from snellen.models.detection.base import Target
from snellen.models.detection.parts.dense import DenseOutputs
from snellen.models.detection.ssdlite import SsdLite, assign, detection_loss

CASES = [
    ("classification", "small-resnet", 32),
    ("classification", "small-resnet", 96),
    ("classification", "resnet18", 64),
    ("classification", "squeezenet1_1", 64),  # only torchvision has it
    ("detection", "ssdlite", 96),
    ("detection", "ssdlite-mobilenetv3_small_050", 96),
]
CLASSES = 4


def build(task: str, name: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    return create(name, task=task, num_classes=CLASSES, image_size=size)


def loss_of(task: str, outputs: object, count: int) -> Tensor:
    if task == "classification":
        assert isinstance(outputs, Tensor)
        return torch.nn.functional.cross_entropy(outputs, torch.arange(count) % CLASSES)
    assert isinstance(outputs, DenseOutputs)
    targets = [Target(torch.tensor([[10.0, 12.0, 40.0, 50.0]]), torch.tensor([i % CLASSES])) for i in range(count)]
    return sum((t.total / t.weight for t in detection_loss(outputs, targets).values()), torch.zeros(()))


def raw(outputs: object) -> Tensor:
    if isinstance(outputs, DenseOutputs):
        return torch.cat([outputs.logits.flatten(1), outputs.offsets.flatten(1)], dim=1)
    assert isinstance(outputs, Tensor)
    return outputs


@pytest.mark.parametrize(("task", "name", "size"), CASES)
def test_network(task: str, name: str, size: int) -> None:
    model = build(task, name, size)
    assert (model.task, model.num_classes) == (task, CLASSES)
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    loss_of(task, model(x), 4).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, f"no gradient reaches {parameter}"
        assert torch.isfinite(value.grad).all(), parameter
    model.eval()
    with torch.no_grad():
        whole, again, alone = raw(model(x)), raw(model(x)), raw(model(x[:1]))
    assert torch.equal(whole, again)
    assert torch.allclose(whole[:1], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("task", "name", "size"), [CASES[0], CASES[4]])
def test_overfits_one_batch(task: str, name: str, size: int) -> None:
    model = build(task, name, size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    first = float(loss_of(task, model(x), 4).detach())
    for _ in range(40):
        optimizer.zero_grad()
        loss = loss_of(task, model(x), 4)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < first / 4


def test_detector_hands_out_its_levels_and_its_assignment() -> None:
    model = create(
        "ssdlite",
        task="detection",
        num_classes=2,
        image_size=64,
        anchors=[[[16.0, 16.0]], [], [[60.0, 50.0], [50.0, 60.0]]],
    )
    levels = model.feature_levels()
    assert levels == [("neck.smooth.0", [16.0, 16.0]), ("neck.smooth.2", [60.0, 50.0, 50.0, 60.0])]
    modules = dict(model.named_modules())
    assert all(name in modules for name, _ in levels)
    outputs = model(torch.zeros(2, 3, 64, 64))
    assert outputs.logits.shape == (2, 8 * 8 * 1 + 2 * 2 * 2, 2)
    assert outputs.level_sizes == (64, 8)
    targets = [
        Target(torch.tensor([[12.0, 12.0, 28.0, 28.0]]), torch.tensor([1])),
        Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]
    evidence = assign(outputs, targets)
    assert evidence.objects == 1
    assert evidence.objects_without_positive == 0
    assert evidence.positives == sum(evidence.positives_per_level) == len(evidence.matched_iou)
    assert evidence.positives_per_level[0] >= 1


def test_a_new_detector_says_one_percent_everywhere() -> None:
    model = build("detection", "ssdlite", 64).eval()
    with torch.no_grad():
        scores = model(torch.randn(2, 3, 64, 64)).logits.sigmoid()
    assert abs(float(scores.mean()) - 0.01) < 0.003


def test_detect_suppresses_within_a_class_only() -> None:
    anchors = torch.tensor([[0.0, 0, 20, 20], [1.0, 1, 21, 21], [40.0, 40, 60, 60]])
    logits = torch.full((1, 3, 2), -9.0)
    logits[0, 0, 0], logits[0, 1, 0], logits[0, 1, 1], logits[0, 2, 0] = 3.0, 2.0, 1.0, 0.0
    model = build("detection", "ssdlite", 64)
    assert isinstance(model, SsdLite)
    (found,) = model.detect(DenseOutputs(logits, torch.zeros(1, 3, 4), anchors, (3,)))
    assert found.labels.tolist() == [0, 1, 0]
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.boxes[0].tolist() == [0, 0, 20, 20]


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ModelError, match="resnet18"):
        create("resnet_18", task="classification", num_classes=2, image_size=64)
    with pytest.raises(ModelError, match="no published weights"):
        create("ssdlite", task="detection", num_classes=2, image_size=64, pretrained=True)
    with pytest.raises(ModelError, match="stride"):
        create("ssdlite-vit_tiny_patch16_224", task="detection", num_classes=2, image_size=64)
    with pytest.raises(ModelError, match="at least one class"):
        create("resnet18", task="classification", num_classes=0, image_size=64)
