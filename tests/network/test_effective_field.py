"""What a user sees of effective receptive fields: right on known kernels, and the model left as it was."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from snellen.network.effective_field import effective_field, with_effective_levels
from snellen.network.shadow import ExamineError
from tests.network.models import SmallDetector


def _box(kernel: int) -> nn.Conv2d:
    layer = nn.Conv2d(3, 1, kernel, padding=kernel // 2, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    return layer


def test_one_uniform_kernel_is_told_as_it_is() -> None:
    field = effective_field(_box(21), size=(65, 65))
    assert field.map.shape == (65, 65)
    assert field.map.sum() == pytest.approx(1)
    assert np.count_nonzero(field.map) == 441
    assert field.centre == pytest.approx((32, 32))
    assert (field.size, field.fwhm) == ((21, 21), (21, 21))
    assert field.box == pytest.approx((22, 22, 43, 43))


def test_uniform_layers_make_a_gaussian_of_the_kernels_variances() -> None:
    # n averages of k x k have variance n (k^2 - 1) / 12: Luo et al. 2016, section 2.1, with random walks' root n.
    layers = [_box(5), *[nn.Conv2d(1, 1, 5, padding=2, bias=False) for _ in range(11)]]
    for layer in layers:
        nn.init.constant_(layer.weight, 0.04)
    field = effective_field(nn.Sequential(*layers), size=(97, 97))
    sigma = math.sqrt(12 * 24 / 12)
    assert field.fwhm[0] == pytest.approx(2.3548 * sigma, abs=1.5)
    # 95 % of two normal variables lie within 2.236 deviations each.
    assert field.height == pytest.approx(2 * 2.236 * sigma, abs=2)
    assert field.height < 49 == 1 + 12 * 4


def test_height_and_width_are_told_apart() -> None:
    layer = nn.Conv2d(3, 1, (3, 15), padding=(1, 7), bias=False)
    nn.init.constant_(layer.weight, 1.0)
    assert effective_field(layer, size=(33, 33)).size == (3, 15)


def test_the_model_is_left_as_it_was() -> None:
    model = timm.create_model("efficientnet_lite0", drop_rate=0.2).train()
    model.conv_stem.weight.requires_grad_(False)
    model.bn1.eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) for m in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    generator = torch.get_rng_state()
    first = effective_field(model, "blocks", size=(96, 96), samples=2)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert hooks == [len(m._forward_hooks) for m in model.modules()]
    assert wanted == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(generator, torch.get_rng_state())
    model.requires_grad_(False)
    with torch.no_grad():
        again = effective_field(model, "blocks", size=(96, 96), samples=2)
    assert np.array_equal(first.map, again.map)


def test_gradient_stays_within_the_theoretical_field() -> None:
    from snellen.network.examine import examine

    model = timm.create_model("resnet18")
    theory = examine(model, (1, 3, 224, 224)).field_of("layer2.0.conv1")
    assert theory is not None
    field = effective_field(model, "layer2.0.conv1", size=(224, 224), samples=1)
    box = theory.box(14, 14)
    assert box is not None
    left, top, right, bottom = (int(v) for v in box)
    assert field.map[top:bottom, left:right].sum() == pytest.approx(1)
    assert field.height <= theory.height


def test_tokens_are_laid_out_as_the_grid_they_are() -> None:
    field = effective_field(timm.create_model("vit_tiny_patch16_224"), "patch_embed", samples=1)
    rows, columns = np.nonzero(field.map)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (112, 127, 112, 127)


def test_levels_of_a_detector_are_measured_beside_their_anchors() -> None:
    from snellen.network.examine import examine

    model = SmallDetector()
    facts = examine(model, (1, 3, 128, 128))
    assert facts.levels["effective_height"].to_list() == [None, None]
    levels = with_effective_levels(facts, model, samples=2).levels
    assert all(0 < e < rf for e, rf in zip(levels["effective_width"], levels["rf"], strict=True))
    assert levels.drop("effective_height", "effective_width").equals(
        facts.levels.drop("effective_height", "effective_width")
    )


class _Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() * 2


def test_what_cannot_be_measured_is_told_in_one_line() -> None:
    with pytest.raises(ExamineError, match="no layer is called 'layer9'"):
        effective_field(_box(3), "layer9")
    with pytest.raises(ExamineError, match="meta device"):
        effective_field(_box(3).to("meta"))
    with pytest.raises(ExamineError, match="no map"):
        effective_field(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), images=torch.zeros(1, 3, 2, 2))
    with pytest.raises(ExamineError, match="no gradient"):
        effective_field(_Constant())
    with pytest.raises(ExamineError, match=r"does not run on images of \[1, 4, 9, 9\]"):
        effective_field(_box(3), images=torch.zeros(1, 4, 9, 9))
