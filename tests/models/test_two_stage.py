"""Faster and Mask R-CNN, and what Cascade R-CNN shares with them: against torchvision and what the papers say."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign, box_iou, generalized_box_iou_loss

from snellen.errors import UseError
from snellen.models import create
from snellen.models.detection import faster_rcnn, published_two_stage
from snellen.models.detection.base import Detector, Target
from snellen.models.detection.faster_rcnn import FasterRcnn
from snellen.models.detection.mask_rcnn import paste_masks
from snellen.models.detection.parts.anchors import shaped_sides
from snellen.models.detection.parts.box_coder import ROI_WEIGHTS, decode
from snellen.models.detection.parts.roi import with_image
from snellen.models.detection.parts.roi_align import bag_align
from snellen.models.detection.roi_heads import (
    RegionPool,
    Regions,
    RegionSample,
    RoiHeads,
    RoiSettings,
    draw_regions,
    hardest_regions,
    region_loss,
)
from snellen.models.detection.rpn import Rpn, RpnSettings, draw, sample_anchors

CLASSES = 5
PUBLISHED = {"fasterrcnn_mobilenet_v3_large_320_fpn": 160, "maskrcnn_resnet50_fpn": 96}
"""Torchvision's networks, and the side of the input they are compared at; Mask R-CNN holds Faster R-CNN."""
DRAWN = 48
"""Regions of an image that are drawn: fewer than there are, so that it matters which."""
OWN = ["faster-rcnn", "faster-rcnn-fpn", "cascade-rcnn", "mask-rcnn"]
TERMS = {
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposal_boxes",
    "loss_classifier": "classes",
    "loss_box_reg": "boxes",
    "loss_mask": "masks",
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def spread(net: Any, size: int) -> Any:
    """Torchvision's network, given our inputs as they are, with scores and offsets as uneven as a trained one's."""
    net.transform.image_mean, net.transform.image_std = [0.0] * 3, [1.0] * 3
    # It draws the size of each image, also where there is but one.
    net.transform.torch_choice = lambda sizes: sizes[0]
    net.rpn._post_nms_top_n["testing"] = 40
    net.roi_heads.detections_per_img = 1  # each has its mask drawn, which is dear
    said: list[Tensor] = []
    first, second = net.rpn.head, net.roi_heads.box_predictor
    spreads = {first.cls_logits: 2.0, first.bbox_pred: 0.3, second.cls_score: 2.0, second.bbox_pred: 0.5}
    with torch.no_grad():
        for layer, wanted in spreads.items():
            hook = layer.register_forward_hook(lambda module, given, out: said.append(out))
            net.eval()(list(torch.randn(1, 3, size, size)))
            layer.weight.mul_(wanted / said[-1].std())
            layer.bias.zero_()
            hook.remove()
    return net


def theirs_of(name: str, size: int, outputs: int = CLASSES + 1, sample: int = 512, **weights: Any) -> Any:
    given = weights or {"weights": None, "weights_backbone": None}
    net = torchvision.models.get_model(
        name, num_classes=outputs, min_size=size, max_size=size, box_batch_size_per_image=sample, **given
    )
    return spread(net, size)


def ours_of(name: str, size: int, classes: int = CLASSES, **options: Any) -> Any:
    model = create(name, task="detection", num_classes=classes, image_size=size, **options)
    assert isinstance(model, Detector)
    return model


def scene(size: int, counts: tuple[int, ...] = (4, 0, 6)) -> tuple[Tensor, list[Target]]:
    """Noise, boxes of 10 to 50 % of its side, and masks of them without a quarter."""
    targets = []
    for count in counts:
        corner = torch.rand(count, 2) * size * 0.5
        boxes = torch.cat([corner, corner + size * 0.1 + torch.rand(count, 2) * size * 0.4], dim=1)
        masks = torch.zeros(count, size, size, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
            mask[y1 : y2 + 1, x1 : x2 + 1] = True
            mask[y1 : (y1 + y2) // 2, x1 : (x1 + x2) // 2] = False
        targets.append(Target(boxes, torch.randint(0, CLASSES, (count,)), masks))
    return torch.randn(len(counts), 3, size, size), targets


def their_targets(targets: list[Target]) -> list[dict[str, Tensor]]:
    return [
        {"boxes": t.boxes, "labels": t.labels + 1, "masks": t.masks.to(torch.uint8)}
        for t in targets
        if t.masks is not None
    ]


def compare_losses(theirs: Any, ours: Detector, x: Tensor, targets: list[Target], gradients: list[str]) -> None:
    torch.manual_seed(7)
    wanted = theirs.train()(list(x), their_targets(targets))
    torch.manual_seed(7)
    terms = ours.train().loss(ours(x, targets), targets)
    means = {name: term.total / term.weight for name, term in terms.items()}
    assert sorted(TERMS[name] for name in wanted) == sorted(means)
    for name, value in wanted.items():
        torch.testing.assert_close(means[TERMS[name]], value, atol=1e-4, rtol=1e-4)
    sum(wanted.values()).backward()
    sum(means.values()).backward()  # type: ignore[union-attr]
    for name in gradients:
        expected = theirs.get_parameter(name).grad
        scale = float(expected.abs().max())
        assert scale > 0
        gap = (ours.get_parameter(name).grad - expected).abs()
        # With several threads a unit at zero but for rounding may be on in one network and off in the other.
        assert float((gap > 1e-3 * (scale + expected.abs())).double().mean()) < 1e-3
        assert float(gap.max()) < 1e-2 * scale


@torch.no_grad()
def compare_detections(theirs: Any, ours: Any, x: Tensor, min_score: float = 0.3) -> None:
    theirs.roi_heads.score_thresh = min_score
    # Few regions, as each detection's mask is dear, but no cut among detections, which would fall among equal scores.
    ours.rpn.settings = ours.rpn.settings.model_copy(update={"after_nms": (2000, 40)})
    theirs.roi_heads.detections_per_img = 1000
    wanted = theirs.eval()(list(x))
    found = ours.eval().detect(ours(x), min_score=min_score, limit=1000)
    assert sum(len(w["boxes"]) for w in wanted) > 5
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f.scores, w["scores"], atol=1e-4, rtol=1e-4)
        # Of equal scores either may come first: each of ours is to be one of theirs, and no two the same one.
        ours_D6 = torch.cat([f.boxes, f.scores[:, None] * 100, f.labels[:, None] * 100], dim=1)
        theirs_D6 = torch.cat([w["boxes"], w["scores"][:, None] * 100, w["labels"][:, None] * 100.0 - 100], dim=1)
        gap, row = (ours_D6[:, None] - theirs_D6).abs().amax(2).min(1)
        assert float(gap.max()) < 2e-4
        assert len(row.unique()) == len(row)
        if "masks" in w:
            assert f.masks.any()
            assert int((f.masks != (w["masks"][row, 0] > 0.5)).sum()) <= 2  # a cell at 0.5 but for rounding


@pytest.mark.parametrize("name", PUBLISHED)
def test_torchvisions_weights_give_torchvisions_losses_gradients_and_detections(name: str) -> None:
    size = PUBLISHED[name]
    theirs = theirs_of(name, size, sample=DRAWN)
    ours = getattr(published_two_stage, name)(CLASSES, image_size=size, sample=DRAWN)
    # Published checkpoints are older than the present names.
    ours.load_state_dict(old_names(theirs.state_dict()), strict=False)
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
    x, targets = scene(size, (5, 0))
    compare_detections(theirs, ours, x)
    with torch.no_grad():
        objectness, offsets = theirs.rpn.head(list(theirs.backbone(x).values()))
        first = ours(x).rpn
    flat = torch.cat([o.permute(0, 2, 3, 1).flatten(1) for o in objectness], dim=1)
    torch.testing.assert_close(first.objectness, flat, atol=1e-4, rtol=1e-4)
    own = torch.cat([o.permute(0, 2, 3, 1).reshape(len(x), -1, 4) for o in offsets], dim=1)
    torch.testing.assert_close(first.offsets, own, atol=1e-4, rtol=1e-4)
    names = ["roi_heads.box_head.fc6.weight", "rpn.head.bbox_pred.weight", "backbone.fpn.inner_blocks.0.0.weight"]
    compare_losses(theirs, ours, x, targets, [*names, *(["roi_heads.mask_head.0.0.weight"] if "mask" in name else [])])


class Named(nn.Module):
    """One map under torchvision's name."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.out_channels = backbone.width

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return OrderedDict({"0": self.backbone(x)[0]})


def test_on_one_map_it_is_torchvisions_network_on_one_map() -> None:
    made = faster_rcnn.build(CLASSES, image_size=96)
    rpn = Rpn(64, [shaped_sides((16, 32), (0.5, 1, 2))], 0.0, RpnSettings())
    heads = RoiHeads(RegionPool([8], 7), 64, CLASSES, 1024)
    ours = FasterRcnn(CLASSES, 96, made.backbone, rpn, heads, RoiSettings(sample=DRAWN))
    made.backbone.eval()
    theirs = spread(
        FasterRCNN(
            Named(made.backbone),
            CLASSES + 1,
            96,
            96,
            rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
            box_batch_size_per_image=DRAWN,
        ),
        96,
    )
    ours.rpn.load_state_dict(theirs.rpn.state_dict())
    ours.roi_heads.load_state_dict(theirs.roi_heads.state_dict())
    x, targets = scene(96)
    compare_detections(theirs, ours, x)
    compare_losses(theirs, ours, x, targets, [])


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of torchvision's published checkpoints, which are older than its present ones."""
    renamed = {}
    for key, value in state.items():
        if "_blocks." in key:
            key = key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        if "mask_head" in key:
            number = int(key.split(".")[2])
            key = key.replace(f"mask_head.{number}.0.", f"mask_head.mask_fcn{number + 1}.")
        if not key.endswith("num_batches_tracked"):
            renamed[key] = value
    return renamed


def test_published_weights_load_as_torchvision_loads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    state = old_names(theirs_of(name, 96, outputs=91).state_dict())
    for key in state:
        if key.endswith("running_var"):
            state[key] = torch.rand_like(state[key]) + 0.5
    asked = []

    def download(url: str, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        asked.append(url)
        return dict(state)

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    ours = ours_of(name, 96, classes=90, pretrained=True)
    theirs: Any = torchvision.models.get_model(name, weights="DEFAULT", min_size=96, max_size=96)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key])
    ours.load_state_dict(spread(theirs, 96).state_dict())
    assert len(asked) == 2
    assert asked[0] == asked[1]
    x, _ = scene(96, (1,))
    compare_detections(theirs, ours, x)
    frozen = {n for n, p in theirs.named_parameters() if not p.requires_grad}
    assert {n for n, p in ours.named_parameters() if not p.requires_grad} == frozen
    fewer = ours_of(name, 96, classes=3, pretrained=True)
    assert fewer.roi_heads.box_predictor.cls_score.out_features == 4
    assert torch.equal(fewer.roi_heads.box_head.fc6.weight, state["roi_heads.box_head.fc6.weight"])
    assert torch.equal(fewer.rpn.head.conv[0][0].weight, state["rpn.head.conv.weight"])


def test_published_weights_of_resnet_are_given_frozen_norms_and_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(published_two_stage, "load_published", lambda model, name, heads: asked.append(name))
    model = published_two_stage.maskrcnn_resnet50_fpn(3, image_size=96, pretrained=True)
    assert asked == ["maskrcnn_resnet50_fpn"]
    # torchvision.models.detection.mask_rcnn overwrites the eps of these weights with 0.
    assert {m.eps for m in model.modules() if isinstance(m, torchvision.ops.FrozenBatchNorm2d)} == {0.0}
    frozen = {n.split(".")[2] for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "layer1"}


@pytest.mark.parametrize("size", [7, 14])
def test_regions_are_pooled_as_torchvision_pools_them(size: int) -> None:
    maps = [torch.randn(2, 6, 96 // s, 96 // s, requires_grad=True) for s in (4, 8, 16)]
    corner = torch.rand(40, 2) * 110 - 10
    boxes = torch.cat([corner, corner + torch.rand(40, 2) ** 2 * 130], dim=1)
    given = [boxes[:15], boxes[15:]]
    rois = with_image(given)
    level = torch.randint(0, 3, (40,))
    pooled = bag_align(maps, (4, 8, 16), rois, level, size)
    wanted = torch.stack(
        [
            torchvision.ops.roi_align(maps[k], roi[None], size, 1 / (4 * 2**k), 2)[0]
            for k, roi in zip(level.tolist(), rois, strict=True)
        ]
    )
    torch.testing.assert_close(pooled, wanted, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(pooled)
    for ours, theirs in zip(
        torch.autograd.grad(pooled, maps, weight), torch.autograd.grad(wanted, maps, weight), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    empty = bag_align(maps, (4, 8, 16), rois[:0], level[:0], size)
    assert empty.shape == (0, 6, size, size)


def test_levels_are_chosen_as_torchvision_chooses_them() -> None:
    maps = [torch.randn(2, 6, 512 // s, 512 // s) for s in (4, 8, 16, 32, 64)]
    corner = torch.rand(60, 2) * 300
    boxes = torch.cat([corner, corner + 2 + torch.rand(60, 2) ** 3 * 500], dim=1)
    given = [boxes[:20], boxes[20:]]
    named = {str(i): x for i, x in enumerate(maps)}
    wanted = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)(named, given, [(512, 512)] * 2)
    torch.testing.assert_close(RegionPool((4, 8, 16, 32), 7)(maps, given), wanted, atol=1e-4, rtol=1e-4)


def test_masks_are_pasted_as_torchvision_pastes_them() -> None:
    masks = torch.rand(30, 28, 28)
    corner = torch.rand(30, 2) * 60
    boxes = torch.cat([corner, (corner + torch.rand(30, 2) ** 2 * 60).clamp(max=64)], dim=1)
    wanted = paste_masks_in_image(masks[:, None], boxes, (64, 64))[:, 0] > 0.5
    assert torch.equal(paste_masks(masks, boxes, 64), wanted)
    assert paste_masks(masks[:0], boxes[:0], 64).shape == (0, 64, 64)


def test_the_larger_published_networks_have_torchvisions_parameters() -> None:
    for name in ("fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn"):
        theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES + 1)
        ours = getattr(published_two_stage, name)(CLASSES, image_size=320)
        wanted = {key: value.shape for key, value in theirs.state_dict().items()}
        assert {key: value.shape for key, value in ours.state_dict().items()} == wanted
        training, testing = theirs.rpn._pre_nms_top_n.values()
        assert ours.rpn.settings.before_nms == (training, testing)
        assert ours.rpn.settings.after_nms == tuple(theirs.rpn._post_nms_top_n.values())
        assert ours.rpn.settings.min_score == theirs.rpn.score_thresh


@pytest.mark.parametrize("name", OWN)
def test_objects_that_are_given_are_not_found_by_that_and_evaluation_draws_nothing(name: str) -> None:
    model = ours_of(name, 96).eval()
    x, targets = scene(96)
    state = torch.get_rng_state()
    with torch.no_grad():
        given, alone = model(x, targets), model(x)
        loss, again = model.loss(given, targets), model.loss(model(x, targets), targets)
    assert torch.equal(torch.get_rng_state(), state)
    assert {k: float(v.total) for k, v in loss.items()} == {k: float(v.total) for k, v in again.items()}
    for a, b in zip(model.detect(given, min_score=0.0), model.detect(alone, min_score=0.0), strict=True):
        assert len(a.boxes) == 100
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.scores, b.scores)
        assert (a.masks is None) == (name != "mask-rcnn")
    with pytest.raises(ValueError, match="with targets"):
        model.loss(alone, targets)
    with pytest.raises(ValueError, match="in evaluation"):
        model.detect(model.train()(x, targets))


@pytest.mark.parametrize("name", OWN)
def test_every_parameter_has_a_gradient_with_objects_and_without(name: str) -> None:
    model = ours_of(name, 96)
    for counts in ((3, 5), (0, 0)):
        x, targets = scene(96, counts)
        model.zero_grad()
        terms = model.loss(model(x, targets), targets)
        sum(t.total / t.weight.clamp(min=1) for t in terms.values()).backward()
        grads = {n: p.grad for n, p in model.named_parameters()}
        assert [n for n, g in grads.items() if g is None or not torch.isfinite(g).all()] == []
        if counts[0]:
            # The coarsest level is read by the first stage alone, and few of its anchors are drawn.
            assert [n for n, g in grads.items() if not g.any() and "layer_blocks.3" not in n] == []


def test_evidence_names_positives_their_overlap_and_what_is_ignored() -> None:
    model = ours_of("faster-rcnn-fpn", 96)
    x, targets = scene(96, (4, 0))
    outputs = model(x, targets)
    found = model.assign(outputs, targets)
    assert found.objects == 4
    assert found.positives == int((found.rows >= 0).sum()) == sum(found.positives_per_level)
    assert found.objects_without_positive == 4 - len(found.rows[0][found.rows[0] >= 0].unique())
    assert found.ignored == int((found.rows == -2).sum())
    assert found.rows[1].unique().tolist() == [-1]
    iou = box_iou(targets[0].boxes, outputs.rpn.anchors)
    rows = found.rows[0]
    kept = (rows >= 0).nonzero().squeeze(1)
    torch.testing.assert_close(found.matched_iou, iou[rows[kept], kept])
    assert not (iou.max(0).values[rows == -1] >= model.rpn.settings.match_low).any()
    assert [len(sides) // 2 for _, sides in model.feature_levels()] == [3] * 4
    modules = dict(model.named_modules())
    assert all(name in modules for name, _ in model.feature_levels())


def test_anchors_made_in_inference_or_in_a_trace_do_not_hinder_training() -> None:
    model = faster_rcnn.build_fpn(CLASSES, image_size=96, box_loss="giou")
    x, targets = scene(96, (3, 2))
    with torch.inference_mode():
        model.eval()(x)
    traced = faster_rcnn.build_fpn(CLASSES, image_size=96, box_loss="giou")
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        traced.rpn([torch.zeros(2, 64, 96 // s, 96 // s) for s in (4, 8, 16, 32)], 96)
    for trained in (model, traced):
        terms = trained.train().loss(trained(x, targets), targets)
        terms["proposal_boxes"].total.backward()
        assert torch.isfinite(terms["boxes"].total)


def test_given_anchors_are_spread_over_the_levels_small_ones_on_fine_maps() -> None:
    sides = [[[20.0, 10.0], [5.0, 5.0]], [[60.0, 50.0]], [], [[9.0, 9.0], [90.0, 80.0]]]
    model = faster_rcnn.build_fpn(CLASSES, image_size=96, anchors=sides)
    assert model.rpn.sides == [
        [[5.0, 5.0], [9.0, 9.0]],
        [[20.0, 10.0], [60.0, 50.0]],
        [[90.0, 80.0]] * 2,
        [[90.0, 80.0]] * 2,
    ]


def test_an_even_sample_has_the_numbers_of_a_random_one() -> None:
    rows = torch.full((500,), -1)
    rows[::10], rows[1::50] = 2, -2
    random, even = draw(rows, 64, 0.25, True), draw(rows, 64, 0.25, False)
    for a, b in zip(random, even, strict=True):
        assert int(a.sum()) == int(b.sum())
    assert (rows[even[0]] == 2).all()
    assert (rows[even[1]] == -1).all()
    places = even[1].nonzero().squeeze(1)
    assert int((places[1:] - places[:-1]).max()) < 15


def regions_of(count: int) -> tuple[Regions, RegionSample, list[Target]]:
    """Regions of two images, some of them on objects."""
    _, targets = scene(96, (3, 2))
    boxes, rows = [], []
    for target in targets:
        corner = torch.rand(count, 2) * 50
        row = torch.randint(-1, len(target.labels), (count,))
        near = target.boxes[row] + torch.randn(count, 4)
        boxes.append(torch.where(row[:, None] >= 0, near, torch.cat([corner, corner + 30], dim=1)))
        rows.append(row)
    logits, offsets = torch.randn(2 * count, CLASSES + 1), torch.randn(2 * count, 4 * (CLASSES + 1)) * 0.3
    return Regions(boxes, logits, offsets), RegionSample(boxes, rows), targets


def test_what_is_drawn_of_an_image_does_not_depend_on_its_neighbours() -> None:
    model = faster_rcnn.build_fpn(CLASSES, image_size=96)
    _, sample, targets = regions_of(200)
    seeded = [replace(target, seed=2**31 - 1 - i) for i, target in enumerate(targets)]
    outputs = model(torch.randn(2, 3, 96, 96)).rpn
    settings = RpnSettings(sample=32)
    alone = RegionSample(sample.boxes[1:], sample.rows[1:])
    anchors = sample_anchors(outputs, seeded, settings, random=True)
    second = sample_anchors(outputs, seeded[1:], settings, random=True)
    assert torch.equal(anchors.positive[1], second.positive[0])
    assert torch.equal(anchors.negative[1], second.negative[0])
    both = [draw_regions(*part, 32, 0.25, True) for part in ((sample, seeded), (alone, seeded[1:]))]
    assert torch.equal(both[0].boxes[1], both[1].boxes[0])
    # Without seeds the generator goes on from image to image.
    torch.manual_seed(0)
    whole = draw_regions(sample, targets, 32, 0.25, True)
    torch.manual_seed(0)
    assert not torch.equal(whole.boxes[1], draw_regions(alone, targets[1:], 32, 0.25, True).boxes[0])


def test_box_loss_of_the_iou_family_is_taken_of_decoded_boxes() -> None:
    regions, sample, targets = regions_of(20)
    total = torch.zeros(())
    boxes = torch.cat(regions.boxes)
    for i, (rows, target) in enumerate(zip(sample.rows, targets, strict=True)):
        for j, row in enumerate(rows.tolist()):
            if row >= 0:
                group = int(target.labels[row]) + 1
                own = regions.offsets[i * 20 + j, 4 * group : 4 * group + 4]
                box = decode(own, boxes[i * 20 + j], ROI_WEIGHTS)
                total = total + generalized_box_iou_loss(box, target.boxes[row])
    term = region_loss(regions, targets, sample, "giou")["boxes"]
    torch.testing.assert_close(term.total, total, atol=1e-4, rtol=1e-4)
    assert float(term.weight) == 40


def test_ohem_learns_from_the_regions_of_largest_loss() -> None:
    regions, sample, targets = regions_of(30)
    alone = []
    for i, (boxes, rows, target) in enumerate(zip(sample.boxes, sample.rows, targets, strict=True)):
        for j in range(30):
            k = i * 30 + j
            one = Regions([boxes[j : j + 1]], regions.logits[k : k + 1], regions.offsets[k : k + 1])
            terms = region_loss(one, [target], RegionSample([boxes[j : j + 1]], [rows[j : j + 1]]))
            alone.append(float(terms["classes"].total + terms["boxes"].total))
    chosen = hardest_regions(regions, targets, sample, 6, "smooth_l1")
    for i, boxes in enumerate(chosen.boxes):
        losses = torch.tensor(alone[i * 30 : i * 30 + 30])
        own = sample.boxes[i]
        kept = torchvision.ops.nms(own, losses, 0.7)[:6]
        assert torch.equal(boxes, own[kept])
    model = faster_rcnn.build_fpn(CLASSES, image_size=96, sampling="ohem")
    x, targets = scene(96, (3, 2))
    outputs = model(x, targets)
    assert all(len(b) <= 64 for b in outputs.samples[0].boxes)
    assert all(torch.isfinite(t.total) for t in model.loss(outputs, targets).values())


def test_masks_are_learnt_from_masks_only() -> None:
    model = ours_of("mask-rcnn", 96)
    x, targets = scene(96, (3,))
    bare = [Target(t.boxes, t.labels) for t in targets]
    with pytest.raises(UseError, match="masks"):
        model.loss(model(x, bare), bare)


@pytest.mark.parametrize("build", [faster_rcnn.build, faster_rcnn.build_fpn])
def test_any_backbone_by_name(build: Callable[..., FasterRcnn]) -> None:
    model = build(CLASSES, image_size=64, backbone="resnet18").eval()
    with torch.no_grad():
        outputs = model(torch.randn(1, 3, 64, 64))
    assert outputs.maps[0].shape[1] == 256
    assert len(model.feature_levels()) == len(outputs.maps)
    pooled = faster_rcnn.build(CLASSES, image_size=64, pool="max")
    x, targets = scene(64, (2,))
    assert torch.isfinite(pooled.loss(pooled(x, targets), targets)["boxes"].total)
