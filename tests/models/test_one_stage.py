"""SSD, SSDLite, RetinaNet, FCOS and CenterNet: against torchvision's, and against what their papers say."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import (
    fcos_resnet50_fpn,
    retinanet_resnet50_fpn,
    ssd300_vgg16,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.ops import box_iou, sigmoid_focal_loss

from snellen.models import ModelError, create
from snellen.models.detection import centernet, fcos, retinanet, ssd
from snellen.models.detection.base import Detector, Target
from snellen.models.loss import LossTerm

CLASSES = 5
THEIRS: dict[str, tuple[Callable[..., nn.Module], int]] = {
    "ssd300_vgg16": (ssd300_vgg16, 300),
    "ssdlite320_mobilenet_v3_large": (ssdlite320_mobilenet_v3_large, 320),
    "retinanet_resnet50_fpn": (retinanet_resnet50_fpn, 128),
    "fcos_resnet50_fpn": (fcos_resnet50_fpn, 128),
}
"""Torchvision's networks, and the side of the input they are compared at."""
OWN = ["ssd", "ssdlite", "retinanet", "fcos", "centernet"]
TERMS = {"bbox_regression": ["boxes"], "classification": ["classes", "background"], "bbox_ctrness": ["centreness"]}


def theirs_of(name: str, outputs: int, size: int) -> Any:
    """Torchvision's network, given our inputs as they are, with scores and offsets of the spread of a trained one."""
    net: Any = THEIRS[name][0](weights=None, weights_backbone=None, num_classes=outputs)
    net.transform.image_mean, net.transform.image_std = [0.0] * 3, [1.0] * 3
    if net.transform.fixed_size is None:
        net.transform.min_size, net.transform.max_size = (size,), size
    with torch.no_grad():
        if name.startswith("ssdlite"):  # as it starts, its signal dies out, and all scores are the same
            for module in net.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
            for layers in net.head.classification_head.module_list:
                layers[1].weight.mul_(0.2)
        for key, value in net.named_parameters():
            if key.endswith(("cls_logits.weight", "bbox_reg.weight", "bbox_ctrness.weight")):
                value.normal_(std=0.1)
            if key.endswith("cls_logits.bias"):
                value.normal_(-1.5, 0.3)
                # Trained without an object of it, the background's own score is nil.
                value.view(-1, outputs)[:, 0] = -30.0
    return net


def ours_of(name: str, size: int, **options: Any) -> Detector:
    model = create(name, task="detection", num_classes=CLASSES, image_size=size, **options)
    assert isinstance(model, Detector)
    return model


def scene(size: int, counts: tuple[int, ...] = (4, 0)) -> tuple[Tensor, list[Target]]:
    """Noise, and boxes of 5 to 40 % of its side."""
    images = torch.randn(len(counts), 3, size, size)
    targets = []
    for count in counts:
        corner = torch.rand(count, 2) * size * 0.6
        sides = size * (0.05 + 0.35 * torch.rand(count, 2))
        targets.append(Target(torch.cat([corner, corner + sides], 1), torch.randint(CLASSES, (count,))))
    return images, targets


def value(term: LossTerm) -> Tensor:
    return term.total / term.weight.clamp(min=1)


@pytest.mark.parametrize("name", THEIRS)
def test_equals_torchvision(name: str) -> None:
    torch.manual_seed(0)
    size = THEIRS[name][1]
    theirs, ours = theirs_of(name, CLASSES + 1, size), ours_of(name, size)
    state = {key: tensor.clone() for key, tensor in theirs.state_dict().items()}
    ours.load_state_dict(state, strict=True)
    images, targets = scene(size, (4,) if name == "ssd300_vgg16" else (4, 0))

    wanted = theirs.train()(list(images), [{"boxes": t.boxes.clone(), "labels": t.labels + 1} for t in targets])
    terms = ours.loss(ours.train()(images), targets)
    for key, loss in wanted.items():
        torch.testing.assert_close(sum(value(terms[t]) for t in TERMS[key] if t in terms), loss, atol=1e-4, rtol=1e-5)
    assert {t for key in wanted for t in TERMS[key]} >= set(terms)

    raw: dict[str, Tensor] = {}
    theirs.head.register_forward_hook(lambda module, inputs, output: raw.update(output))
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    with torch.no_grad():
        found = theirs.eval()(list(images))
        outputs = ours.eval()(images)
    torch.testing.assert_close(outputs.logits, raw["cls_logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.offsets, raw["bbox_regression"], atol=1e-4, rtol=0)
    if "bbox_ctrness" in raw:
        torch.testing.assert_close(outputs.centreness[..., None], raw["bbox_ctrness"], atol=1e-4, rtol=0)
    settings = {"min_score": theirs.score_thresh, "nms_iou": theirs.nms_thresh, "limit": theirs.detections_per_img}
    for their, our in zip(found, ours.detect(outputs, **settings), strict=True):
        assert len(our.boxes) > 20
        assert len(our.scores.unique()) > 0.9 * len(our.scores)
        torch.testing.assert_close(our.boxes, their["boxes"], atol=1e-4, rtol=0)
        torch.testing.assert_close(our.scores, their["scores"], atol=1e-4, rtol=0)
        assert torch.equal(our.labels, their["labels"] - 1)


def as_published(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The layout of the files: those on ResNet-50 hold frozen norms, RetinaNet's names are of before 0.13."""
    if "resnet50" not in name:
        return state
    state = {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    if name.startswith("retinanet"):
        for key in list(state):
            if "_head.conv." in key:
                before, after = key.split(".conv.")
                place, _, kind = after.split(".")
                state[f"{before}.conv.{2 * int(place)}.{kind}"] = state.pop(key)
            elif "fpn.inner_blocks" in key or "fpn.layer_blocks" in key:
                state[key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")] = state.pop(key)
    return state


@pytest.mark.parametrize("name", THEIRS)
def test_published_weights_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    size = THEIRS[name][1]
    theirs = theirs_of(name, 91, size)
    state = as_published(name, theirs.state_dict())
    weights = torchvision.models.get_model_weights(name)["DEFAULT"]
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **options: dict(state))
    ours = create(name, task="detection", num_classes=90, image_size=size, pretrained=True)
    own = ours.state_dict()
    for key, published in theirs.state_dict().items():
        # Those of RetinaNet were trained without the epsilon that a norm adds to the variance.
        shift = 1e-5 if name.startswith("retinanet") and key.endswith("running_var") else 0.0
        assert torch.equal(own[key], published - shift) if shift else torch.equal(own[key], published), key

    if name == "ssdlite320_mobilenet_v3_large":  # with other classes, all but their scores
        few = ours_of(name, size, pretrained=True).state_dict()
        differ = [key for key, tensor in few.items() if not torch.equal(tensor, own[key])]
        assert differ
        assert all(key.startswith("head.classification_head") for key in differ)
        del state["backbone.extra.0.0.0.weight"]
        with pytest.raises(ModelError, match="do not fit: missing"):
            ours_of(name, size, pretrained=True)


@pytest.mark.parametrize(("name", "size", "boxes"), [("ssd300", 300, 8732), ("ssd512", 512, 24564)])
def test_ssd_has_the_papers_boxes(name: str, size: int, boxes: int) -> None:
    with torch.device("meta"):
        model = ours_of(name, size)
        outputs = model(torch.zeros(1, 3, size, size))
    assert sum(outputs.level_sizes) == outputs.logits.shape[1] == boxes
    assert outputs.logits.shape[2] == CLASSES + 1


def test_ssd_says_which_inputs_and_backbones_it_takes() -> None:
    with pytest.raises(ModelError, match="at least 272 px"):
        ours_of("ssd300", 128)
    with pytest.raises(ModelError, match="name it ssd-resnet18"):
        ours_of("ssd300-resnet18", 300)


@pytest.mark.parametrize("name", ["ssd", "retinanet", "fcos", "centernet"])
def test_learns_one_batch_and_finds_its_objects(name: str) -> None:
    torch.manual_seed(0)
    anchors = [[[14.0, 14.0], [20.0, 16.0]], [[34.0, 30.0]], []]
    model = ours_of(name, 64, anchors=anchors)
    images = torch.randn(2, 3, 64, 64)
    targets = [
        Target(torch.tensor([[6.0, 8.0, 20.0, 22.0], [28.0, 30.0, 60.0, 62.0]]), torch.tensor([1, 3])),
        Target(torch.tensor([[30.0, 10.0, 50.0, 26.0]]), torch.tensor([0])),
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(45):
        loss = torch.stack([value(term) for term in model.loss(model(images), targets).values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for key, parameter in model.named_parameters():
                assert parameter.grad is not None, f"no gradient reaches {key}"
                assert torch.isfinite(parameter.grad).all(), key
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    with torch.no_grad():
        outputs = model(images)  # in training mode: 45 steps are too few for the norms' averages
    for found, target in zip(model.detect(outputs, min_score=0.3), targets, strict=True):
        best = box_iou(target.boxes, found.boxes).max(dim=1)
        assert (best.values > 0.5).all()
        assert torch.equal(found.labels[best.indices], target.labels)
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


@pytest.mark.parametrize("name", OWN)
def test_hands_out_its_assignment_and_its_levels(name: str) -> None:
    torch.manual_seed(0)
    model = ours_of(name, 96).eval()
    images, targets = scene(96, (3, 0))
    outputs = model(images)
    evidence = model.assign(outputs, targets)
    assert evidence.objects == 3
    assert sum(evidence.level_sizes) == evidence.rows.shape[1]
    assert evidence.positives == sum(evidence.positives_per_level) == int((evidence.rows >= 0).sum()) > 0
    assert (evidence.rows[1] < 0).all()
    assert evidence.objects_without_positive == 3 - len(evidence.rows[0][evidence.rows[0] >= 0].unique())
    assert (evidence.ignored > 0) == (name in ("ssdlite", "retinanet"))
    modules = dict(model.named_modules())
    assert model.feature_levels()
    assert all(layer in modules for layer, _ in model.feature_levels())
    with torch.no_grad():
        alone = model(images[:1])
    for part, both in vars(outputs).items():
        one = getattr(alone, part)
        if isinstance(both, Tensor):
            torch.testing.assert_close(both if part == "anchors" else both[:1], one, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["ssd", "retinanet"])
def test_is_built_again_from_its_anchors(name: str) -> None:
    anchors = [[[20.0, 18.0], [21.0, 18.0]], [], [[70.0, 40.0]]]
    model = ours_of(name, 96, anchors=anchors)
    again = ours_of(name, 96, anchors=model.anchor_sides)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in again.state_dict().items()}
    assert len(model.feature_levels()) == 2


def test_a_retinanets_levels_share_the_shapes_in_cells() -> None:
    anchors = [[[20.0, 18.0], [21.0, 18.0]], [], [[64.0, 128.0]]]
    assert retinanet.shapes_in_cells(anchors, (8, 16, 32)) == [[2.5, 2.25], [2.0, 4.0]]
    levels = retinanet.build(1, image_size=128, anchors=anchors).feature_levels()
    assert [sides for _, sides in levels] == [[20.0, 18.0, 16.0, 32.0], [80.0, 72.0, 64.0, 128.0]]


def test_a_point_of_fcos_answers_for_the_smallest_object_about_it() -> None:
    points = torch.tensor([[x, y, x + 8.0, y + 8.0] for y in range(0, 128, 8) for x in range(0, 128, 8)])
    coarse = torch.tensor([[x, y, x + 16.0, y + 16.0] for y in range(0, 128, 16) for x in range(0, 128, 16)])
    boxes = torch.tensor([[0.0, 0.0, 128.0, 128.0], [52.0, 52.0, 76.0, 76.0], [54.0, 54.0, 74.0, 74.0]])
    # What each point would say if it were right about the last object.
    centre = (points[:, :2] + points[:, 2:]) / 2
    right = torch.cat([centre - boxes[2, :2], boxes[2, 2:] - centre], 1) / 8
    offsets = torch.cat([right.clamp(min=0), torch.ones(64, 4)])[None]
    outputs = fcos.FcosOutputs(
        torch.full((1, 320, 2), -20.0), offsets, torch.cat([points, coarse]), (256, 64), torch.zeros(1, 320)
    )
    target = Target(boxes, torch.tensor([0, 1, 1]))
    evidence = fcos.assign(outputs, [target])
    rows = evidence.rows[0]
    assert rows[:256].unique().tolist() == [-1, 2]  # the second object has the same centre, and is larger
    assert rows[256:].unique().tolist() == [-1, 0]  # too large for the first level, and alone on the last
    assert evidence.objects_without_positive == 1
    assert evidence.positives_per_level == [4, 4]
    assert torch.allclose(evidence.matched_iou[:4], torch.ones(4))
    torch.testing.assert_close(fcos.boxes_of(right[rows[:256] == 2], points[rows[:256] == 2]), boxes[2].expand(4, 4))


@pytest.mark.parametrize("sides", [(10.0, 10.0), (4.0, 30.0), (55.0, 21.0)])
def test_a_box_moved_by_the_peaks_radius_still_overlaps(sides: tuple[float, float]) -> None:
    w, h = sides
    radius = float(centernet.peak_radius(torch.tensor([sides]))[0])
    box = torch.tensor([[100.0, 100.0, 100.0 + w, 100.0 + h]])

    def worst(r: float) -> float:
        signs = torch.cartesian_prod(*[torch.tensor([-r, r])] * 4)
        return float(box_iou(box, box + signs).min())

    assert worst(radius) == pytest.approx(centernet.OVERLAP, abs=1e-4)
    assert worst(1.02 * radius) < centernet.OVERLAP


def test_heat_peaks_at_the_centres_and_its_loss_is_focal_loss_elsewhere() -> None:
    outputs = centernet.HeatOutputs(torch.zeros(1, 2, 16, 16), torch.zeros(1, 256, 2), torch.zeros(1, 256, 2))
    boxes = torch.tensor([[8.0, 8.0, 24.0, 24.0], [20.0, 8.0, 36.0, 24.0], [40.0, 40.0, 60.0, 52.0]])
    heat = centernet.wanted_heat(outputs, [Target(boxes, torch.tensor([0, 0, 1]))])[0]
    assert (heat[0] == 1).nonzero().tolist() == [[4, 4], [4, 7]]
    assert (heat[1] == 1).nonzero().tolist() == [[11, 12]]
    assert float(heat[0, 4, 5]) == float(heat[0, 4, 6]) > float(heat[0, 4, 8]) * 0.99  # the larger of two peaks
    assert float(heat.min()) >= 0
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)) * 3
    sharp = (torch.rand(2, 50, generator=torch.Generator().manual_seed(1)) > 0.7).float()
    # Where the heat is 0 or 1, eq. 1 is the focal loss without alpha's balance.
    torch.testing.assert_close(
        centernet.heat_focal(logits, sharp), sigmoid_focal_loss(logits, sharp, alpha=-1, gamma=2), atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(
        centernet.heat_focal(logits, sharp * 0.5)[sharp == 1],
        0.5**4 * sigmoid_focal_loss(logits, torch.zeros_like(sharp), alpha=-1, gamma=2)[sharp == 1],
    )


def test_centernet_reads_boxes_off_its_maps() -> None:
    model = centernet.build(2, image_size=64)
    boxes = torch.tensor([[10.0, 12.0, 30.0, 20.0], [33.0, 31.0, 63.0, 59.0], [34.0, 32.0, 62.0, 58.0]])
    target = Target(boxes, torch.tensor([1, 0, 0]))
    heat = torch.full((1, 2, 16, 16), -9.0)
    sizes, shifts = torch.zeros(1, 256, 2), torch.zeros(1, 256, 2)
    outputs = centernet.HeatOutputs(heat, sizes, shifts)
    evidence = centernet.assign(outputs, [target])
    # The last two share a centre, and the cell answers for the smaller.
    assert (evidence.positives, evidence.objects_without_positive) == (2, 1)
    for cell in (evidence.rows[0] >= 0).nonzero().flatten().tolist():
        row = int(evidence.rows[0, cell])
        heat[0, target.labels[row], cell // 16, cell % 16] = 5.0 - row
        heat[0, target.labels[row], cell // 16, cell % 16 + 1] = 1.0  # beside the peak, and lower
        sizes[0, cell] = (boxes[row, 2:] - boxes[row, :2]) / 4
        shifts[0, cell] = (boxes[row, :2] + boxes[row, 2:]) / 8 - torch.tensor([cell % 16, cell // 16])
    (found,) = model.detect(outputs)
    torch.testing.assert_close(found.boxes, boxes[[0, 2]])
    assert found.labels.tolist() == [1, 0]
    assert torch.allclose(centernet.assign(outputs, [target]).matched_iou, torch.ones(2))
    terms = centernet.centernet_loss(outputs, [target], evidence)
    assert float(terms["sizes"].total) == pytest.approx(0.0, abs=1e-5)
    assert float(terms["shifts"].total) == pytest.approx(0.0, abs=1e-5)


def test_ssd_trains_on_three_backgrounds_for_each_object() -> None:
    torch.manual_seed(0)
    model = ssd.build(CLASSES, image_size=96).eval()
    images, targets = scene(96, (3, 0))
    outputs = model(images)
    outputs.logits.retain_grad()
    evidence = model.assign(outputs, targets)
    torch.stack([term.total for term in model.loss(outputs, targets, evidence).values()]).sum().backward()
    assert outputs.logits.grad is not None
    taught = outputs.logits.grad.abs().sum(-1) > 0
    assert int(taught[0].sum()) == 4 * evidence.positives
    assert not taught[1].any()
