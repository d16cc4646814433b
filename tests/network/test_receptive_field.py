"""Receptive fields of published networks: local and strict, per axis, position by position."""

from math import inf

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from snellen.network.examine import examine
from snellen.network.facts import NetworkFacts
from snellen.network.field_facts import ReceptiveField
from snellen.network.resolve import load_model
from tests.network.field_oracle import reached_pixels


def field_of(facts: NetworkFacts, layer: str) -> ReceptiveField:
    field = facts.field_of(layer)
    assert field is not None
    return field


class LeNet(nn.Module):
    """LeCun et al. 1998, figure 2."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.s2, self.c3, self.s4 = nn.Conv2d(1, 6, 5), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.AvgPool2d(2)
        self.c5, self.f6 = nn.Conv2d(16, 120, 5), nn.Linear(120, 84)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.f6(self.c5(self.s4(self.c3(self.s2(self.c1(x))))).flatten(1))
        return out


def test_lenet() -> None:
    facts = examine(LeNet(), (1, 1, 32, 32))
    fields = [field_of(facts, layer) for layer in ("c1", "s2", "c3", "s4", "c5")]
    assert [f.size for f in fields] == [(5, 5), (6, 6), (14, 14), (16, 16), (32, 32)]
    assert [f.stride for f in fields] == [(1, 1), (2, 2), (2, 2), (4, 4), (4, 4)]
    assert fields[-1].box(0, 0) == (0, 0, 32, 32)


@pytest.mark.parametrize(
    ("name", "side", "size"),
    [
        ("torchvision:vgg16", 224, 212), ("mobilenetv1_100", 224, 315), ("inception_v3", 299, 1311),
        ("inception_v4", 299, 2071), ("resnet50", 224, 427), ("densenet121", 224, 2071), ("hrnet_w18", 224, 2847),
        ("res2net50_26w_4s", 224, 1131),
    ],
)  # fmt: skip
def test_published_backbones(name: str, side: int, size: float) -> None:
    facts = examine(load_model(name), (1, 3, side, side))
    ran = facts.layers.filter(facts.layers["order"].is_not_null())
    assert ran["rf_height"].null_count() == 0
    assert ran["rf_height"].filter(ran["rf_height"].is_finite()).max() == size


def test_centre_and_place_of_a_field() -> None:
    # Three strided convolutions that pad one pixel: the first output of each is centred on the first pixel.
    same = nn.Sequential(*[nn.Conv2d(3 if i == 0 else 4, 4, 3, 2, 1) for i in range(3)])
    field = field_of(examine(same, (1, 3, 64, 64)), "2")
    assert field.rows is not None
    assert (field.size, field.rows.centre(), field.rows.centre(5)) == ((15, 15), 0, 40)
    # Without padding it is centred on its own first window.
    valid = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, (1, 5)))
    field = field_of(examine(valid, (1, 3, 64, 64)), "1")
    assert field.rows is not None
    assert field.columns is not None
    assert (field.size, field.rows.centre(), field.columns.centre()) == ((3, 11), 1, 5)
    assert field.box(2, 0) == (0, 4, 11, 7)


def test_a_gate_gives_two_values() -> None:
    facts = examine(load_model("efficientnet_b0"), (1, 3, 224, 224))
    last = field_of(facts, "conv_head")
    assert (last.size, last.local, last.strict) == ((851, 851), (851, 851), (inf, inf))
    assert field_of(facts, "conv_stem").strict == (3, 3)


def test_deeplab_is_local_but_for_its_pooling_branch() -> None:
    facts = examine(load_model("torchvision:deeplabv3_resnet50"), (1, 3, 513, 513))
    joined = field_of(facts, "classifier.1")
    assert (joined.size, joined.strict) == ((1019, 1019), (inf, inf))


def test_a_vision_transformer_sees_all_and_its_patch() -> None:
    facts = examine(load_model("vit_tiny_patch16_224"), (1, 3, 224, 224))
    norm = field_of(facts, "norm")
    assert (norm.size, norm.local, norm.stride) == ((inf, inf), (16, 16), (16, 16))
    mixer = field_of(examine(load_model("mixer_s32_224"), (1, 3, 224, 224)), "norm")
    assert (mixer.size, mixer.local) == ((inf, inf), (32, 32))


def test_cross_covariance_is_a_gate() -> None:
    # XCiT: channels attend to channels over all places; each place keeps its own field, which two 3 x 3 widen.
    facts = examine(load_model("xcit_nano_12_p16_224"), (1, 3, 224, 224))
    first = field_of(facts, "blocks.0.local_mp.conv2")
    assert first.stride == (16, 16)
    assert first.local is not None
    assert (first.size, first.strict) == (first.local, (inf, inf))


def test_halo_attention_sees_its_block_and_halo() -> None:
    facts = examine(load_model("halonet26t"), (1, 3, 256, 256))
    # Keys of 8 + 2 * 2 places of stride 16 around each block of queries, each place seeing 71 pixels before.
    assert field_of(facts, "stages.2.0.act").size == (71, 71)
    assert field_of(facts, "stages.2.1.post_attn").size == (71 + 11 * 16, 71 + 11 * 16)


def test_feature_pyramid_levels_alternate() -> None:
    model = torchvision.models.detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None).backbone
    facts = examine(model, (1, 3, 512, 512))
    level = field_of(facts, "fpn.layer_blocks.0.0")
    assert level.rows is not None
    assert level.alternates
    assert set(level.rows.sizes) == {459, 427}


class _Up(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(functional.interpolate(self.first(x), scale_factor=2, mode="bilinear"))
        return out


def test_each_phase_is_where_the_gradient_is() -> None:
    model = _Up()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    field = field_of(examine(model, (1, 1, 32, 32)), "last")
    assert field.rows is not None
    found = reached_pixels(model, (1, 1, 32, 32), [(i, i) for i in (12, 13, 14, 15)])
    assert [(hull[0] if hull else None) for hull in found] == [field.rows.at(i) for i in (12, 13, 14, 15)]


def test_facts_read_back_say_the_same(tmp_path: object) -> None:
    from pathlib import Path

    facts = examine(timm.create_model("efficientnet_lite0"), (1, 3, 64, 64))
    facts.save(Path(str(tmp_path)))
    assert NetworkFacts.load(Path(str(tmp_path))).field_of("conv_head") == facts.field_of("conv_head")
