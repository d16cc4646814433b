"""Segmenters: one battery over their names, torchvision's outputs and weights, and what cannot be built."""

import pytest
import torch
import torchvision
from torch import nn

from snellen.models import ModelError, create, model_names
from snellen.models.losses import cross_entropy
from snellen.models.segmentation import known_segmenter, split_segmenter
from snellen.models.segmentation.unet import UNet

CLASSES = 3
NAMES = [
    "unet",
    "fcn",
    "fcn-mobilenetv3_small_050",
    "unet-mobilenetv3_small_050",
    "fpn-resnet18",
    "pspnet",
    "deeplabv3-resnet10t",
    "deeplabv3plus-mobilenet_v2",
    "lraspp_mobilenet_v3_large",
    "deeplabv3_mobilenet_v3_large",
]
TORCHVISION = ["fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]


def build(name: str, size: int = 64, classes: int = CLASSES) -> nn.Module:
    torch.manual_seed(0)
    return create(name, task="segmentation", num_classes=classes, image_size=size)


def picture(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_segmenter(name):
    model = build(name)
    assert (model.task, model.num_classes) == ("segmentation", CLASSES)
    x = picture()
    targets = torch.randint(CLASSES, (2, 64, 64), generator=torch.Generator().manual_seed(2))
    term = cross_entropy(model(x), targets)
    (term.total / term.weight).backward()
    for parameter, value in model.named_parameters():
        if not value.requires_grad:
            assert name == "pspnet", f"{parameter} is not trained"
            continue
        assert value.grad is not None, f"no gradient reaches {parameter}"
        assert torch.isfinite(value.grad).all(), parameter
    model.eval()
    with torch.no_grad():
        whole, again, alone = model(x), model(x), model(x[:1])
    assert whole.shape == (2, CLASSES, 64, 64)
    assert torch.equal(whole, again)
    assert torch.allclose(whole[:1], alone, atol=1e-4, rtol=1e-3)
    other = create(name, task="segmentation", num_classes=CLASSES, image_size=64).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(other(x), whole)


@pytest.mark.parametrize("name", ["unet", "fcn"])
def test_learns_one_batch_by_heart(name):
    model = build(name)
    x = picture()
    # Squares of a class each at places of their own, which can be told from the noise only by heart.
    targets = torch.zeros(2, 64, 64, dtype=torch.int64)
    targets[0, 8:24, 8:24], targets[1, 32:64, 0:32], targets[1, 0:16, 40:56] = 1, 2, 1
    first = cross_entropy(model(x), targets)
    assert (first.total / first.weight).item() == pytest.approx(1.0986, abs=0.05)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        term = cross_entropy(model(x), targets)
        loss = term.total / term.weight
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3


@pytest.mark.parametrize("name", TORCHVISION)
def test_same_outputs_as_torchvision_with_the_same_weights(name):
    torch.manual_seed(3)
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=21).eval()
    mine = build(name, classes=21).eval()
    mine.load_state_dict(theirs.state_dict())
    x = picture(1)
    with torch.no_grad():
        assert torch.equal(mine(x), theirs(x)["out"])


def test_published_weights_are_taken_as_far_as_they_fit(monkeypatch):
    name = "lraspp_mobilenet_v3_large"
    torch.manual_seed(4)
    published = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=21).state_dict()
    weights = torchvision.models.get_model_weights(name)
    monkeypatch.setattr(weights, "get_state_dict", lambda self, *args, **kwargs: published)
    mine = create(name, task="segmentation", num_classes=21, image_size=64, pretrained=True)
    assert all(torch.equal(v, published[k]) for k, v in mine.state_dict().items())
    other = create(name, task="segmentation", num_classes=2, image_size=64, pretrained=True).state_dict()
    assert torch.equal(other["backbone.0.0.weight"], published["backbone.0.0.weight"])
    assert other["classifier.high_classifier.weight"].shape[0] == 2


@pytest.mark.parametrize("height", [16, 24, 37])
def test_the_small_unet_takes_any_size(height):
    torch.manual_seed(0)
    model = UNet(2, (4, 8, 16)).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, height, 50)).shape == (1, 2, height, 50)


def test_names():
    names = model_names("segmentation")
    assert {"unet", "fcn", "deeplabv3", "deeplabv3plus", "fpn", "pspnet", *TORCHVISION} <= set(names)
    assert split_segmenter("deeplabv3plus-resnet34") == ("deeplabv3plus", "resnet34")
    assert split_segmenter("fcn_resnet50") == ("fcn_resnet50", None)
    assert split_segmenter("segnet") is None
    for name in ("unet-resnet18", "unet-tu-resnet18", "fpn-convnext_tiny", "fcn-squeezenet1_1", "pspnet-xception"):
        assert known_segmenter(name), name
    assert not known_segmenter("unet-resnet99")
    assert not known_segmenter("fcn_resnet50-resnet18")


@pytest.mark.parametrize(
    ("name", "size", "pretrained", "said"),
    [
        ("unet-resnet99", 64, False, "nearest: unet-resnet"),
        ("fpnn", 64, False, "nearest: fpn"),
        ("unet-vit_tiny_patch16_224", 64, False, "cannot be built"),
        ("fpn-resnet18", 80, False, "multiples of 32, not 80"),
        ("unet", 64, True, "no published weights"),
    ],
)
def test_what_cannot_be_built(name, size, pretrained, said):
    with pytest.raises(ModelError, match=said):
        create(name, task="segmentation", num_classes=2, image_size=size, pretrained=pretrained)
