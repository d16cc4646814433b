"""What a user sees of the examiner: costs, fields, memory, and a model left alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from snellen.network.examine import examine
from snellen.network.facts import NetworkFacts
from snellen.network.resolve import load_model
from snellen.network.shadow import ExamineError
from tests.network.models import SmallDetector, SmallNet, TextLstm, UNet


@pytest.mark.parametrize(
    "name",
    [
        "resnet18", "mobilenetv3_large_100", "vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224",
        "efficientnet_b0", "densenet121", "ghostnet_100", "mixer_s32_224", "coatnet_0_rw_224", "res2net50_26w_4s",
        "torchvision:vit_b_16", "torchvision:deeplabv3_resnet50", "torchvision:swin_t",
    ],
)  # fmt: skip
def test_macs_equal_those_of_flop_counter(name: str) -> None:
    model = load_model(name).eval()
    facts = examine(model, (1, 3, 224, 224))
    counter = FlopCounterMode(display=False)
    # With gradients, so that the counter is not blinded by fused attention.
    with counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert facts.macs * 2 == counter.get_total_flops()
    assert facts.uncounted_operators == []


class _Call(nn.Module):
    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(s)) for s in shapes])

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.weights)


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (nn.Conv2d(16, 32, 3, padding=1), (1, 16, 10, 10), 100 * 9 * 16 * 32),
        (nn.Conv2d(16, 32, (1, 7), padding="same"), (1, 16, 10, 10), 100 * 7 * 16 * 32),
        (nn.Conv2d(16, 32, 3, groups=4, padding=1), (1, 16, 10, 10), 100 * 9 * 4 * 32),
        (nn.Conv2d(16, 16, 3, groups=16, padding=1), (1, 16, 10, 10), 100 * 9 * 16),
        (nn.Conv2d(4, 8, 3, dilation=2, padding=2, stride=2), (2, 4, 10, 10), 2 * 25 * 9 * 32),
        (nn.Conv1d(4, 8, 5), (1, 4, 20), 16 * 5 * 32),
        (nn.Conv3d(4, 8, 3), (1, 4, 5, 6, 7), 3 * 4 * 5 * 27 * 32),
        (nn.ConvTranspose2d(8, 4, 4, 2, 1), (1, 8, 5, 5), 25 * 16 * 32),
        (nn.ConvTranspose2d(8, 4, 4, 2, 1, groups=4), (1, 8, 5, 5), 25 * 16 * 8),
        (nn.Linear(8, 5), (3, 7, 8), 21 * 40),
        (_Call(lambda x: x @ x.mT), (2, 3, 4, 8), 6 * 4 * 8 * 4),
        (_Call(lambda x: torch.einsum("nchw,ncij->nhwij", x, x)), (1, 3, 4, 5), 20 * 3 * 20),
        (_Call(lambda x: torch.baddbmm(x, x, x)), (2, 4, 4), 2 * 64),
        (_Call(functional.linear, (5, 8)), (3, 8), 120),
        (_Call(lambda x: functional.scaled_dot_product_attention(x, x, x)), (1, 2, 6, 8), 2 * 2 * 36 * 8),
        (nn.LSTM(6, 5, batch_first=True), (2, 7, 6), 14 * 4 * 5 * (6 + 5)),
        (nn.GRU(6, 5, 2, batch_first=True, bidirectional=True), (2, 7, 6), 14 * 2 * 15 * (11 + 15)),
        (nn.TransformerEncoderLayer(8, 2, 32, batch_first=True), (1, 6, 8), 6 * 12 * 64 + 2 * 36 * 8),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 3)), (1, 4, 6, 6), 16 * 9 * 32),
    ],
)  # fmt: skip
@pytest.mark.parametrize("frozen", [False, True])
def test_macs_in_closed_form(model: nn.Module, shape: tuple[int, ...], macs: int, frozen: bool) -> None:
    model.requires_grad_(not frozen)
    with torch.set_grad_enabled(not frozen):
        assert examine(model, shape).macs == macs
    assert examine(model.train(frozen), shape).macs == macs


def test_mobilenet_split_costs_a_seventh() -> None:
    # 224 x 224 x 3, stride 2, 32 filters: 10 838 016 MACs whole, 338 688 + 1 204 224 split.
    whole = nn.Conv2d(3, 32, 3, 2, 1)
    split = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1, groups=3), nn.Conv2d(3, 32, 1))
    assert examine(whole, (1, 3, 224, 224)).macs == 10_838_016
    assert examine(split, (1, 3, 224, 224)).layers["macs"].to_list() == [338_688, 1_204_224]


@pytest.mark.parametrize(
    ("name", "side", "field"),
    [
        ("resnet18", 224, 435), ("resnet50", 224, 427), ("densenet121", 224, 2071), ("inception_v3", 299, 1311),
        ("inception_v4", 299, 2071), ("mobilenetv1_100", 224, 315), ("mobilenetv2_100", 224, 491),
        ("repvgg_b0", 224, 647),
        ("dla34", 224, 623), ("hrnet_w18", 224, 2847), ("convnext_tiny", 224, 1688), ("res2net50_26w_4s", 224, 1131),
        ("efficientnet_b0", 224, 851), ("torchvision:googlenet", 224, 379), ("torchvision:alexnet", 224, 195),
    ],
)  # fmt: skip
def test_receptive_field_of_backbones(name: str, side: int, field: float) -> None:
    facts = examine(load_model(name), (1, 3, side, side))
    known = facts.layers.filter(facts.layers["calls"] > 0)["rf_height"]
    assert known.null_count() == 0
    assert known.filter(known.is_finite()).max() == field


def test_receptive_field_of_vgg16_features() -> None:
    model = torchvision.models.vgg16().features
    facts = examine(model, (1, 3, 224, 224))
    assert facts.receptive_field("30") == (212, 212)
    assert facts.layers["stride"][-1] == 32


def test_receptive_field_of_the_textbook_chain() -> None:
    # conv 3/1, pool 3/2, conv 3/1, pool 2/2, conv 3/1, conv 3/1, pool 2/2.
    parts = [nn.Conv2d(1, 1, 3), nn.MaxPool2d(3, 2), nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3)]
    chain = nn.Sequential(*parts, nn.Conv2d(1, 1, 3), nn.MaxPool2d(2))
    facts = examine(chain, (1, 1, 96, 96))
    assert facts.layers["rf_height"].to_list() == [3, 5, 9, 11, 19, 27, 31]


def _reach(model: nn.Module, side: int) -> int:
    """Rows of the input that the gradient of one output row reaches, the most over the phases."""
    model = model.double().eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.abs() + 0.01
    best = 0
    for row in range(side // 2, side // 2 + 8):
        x = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        out = model(x)
        out = out["mask"] if isinstance(out, dict) else out
        (grad,) = torch.autograd.grad(out[0, 0, row * out.shape[2] // side, out.shape[3] // 2], x)
        best = max(best, int((grad.abs().sum((0, 1, 3)) > 0).sum()))
    return best


class _LinearUNet(UNet):
    """Average in place of max pooling and no ReLU, so that the gradient shows every path."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        for block in (self.down1, self.down2, self.bottom, self.join2, self.join1):
            block[1], block[3] = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a = self.down1(x)
        b = self.down2(functional.avg_pool2d(a, 2))
        c = self.bottom(functional.avg_pool2d(b, 2))
        if self.mode == "transposed":
            b = self.join2(torch.cat([b, self.up2(c)], 1))
            return {"mask": self.out(self.join1(torch.cat([a, self.up1(b)], 1)))}
        extra: dict[str, Any] = {} if self.mode == "nearest" else {"align_corners": False}
        up = functional.interpolate(c, scale_factor=4, mode=self.mode, **extra)
        return {"mask": self.out(self.join1(torch.cat([a, up[:, :8]], 1)))}


@pytest.mark.parametrize("mode", ["transposed", "nearest", "bilinear"])
def test_receptive_field_after_upsampling_is_exact_over_all_phases(mode: str) -> None:
    model = _LinearUNet(mode)
    facts = examine(model, (1, 3, 96, 96))
    assert facts.receptive_field("out") == (_reach(model, 96), _reach(model, 96))


def test_attention_and_global_pooling_see_everything() -> None:
    vit = examine(load_model("vit_tiny_patch16_224"), (1, 3, 224, 224))
    assert vit.receptive_field("patch_embed.proj") == (16, 16)
    assert vit.receptive_field("norm") == (float("inf"), float("inf"))
    assert examine(load_model("resnet18"), (1, 3, 64, 64)).receptive_field("fc") == (float("inf"), float("inf"))


def test_window_attention_sees_its_window() -> None:
    # Swin: windows of 7 x 7 patches of 4 px; the second block's are shifted by 3 patches and straddle two.
    swin = examine(load_model("swin_tiny_patch4_window7_224"), (1, 3, 224, 224))
    assert swin.receptive_field("layers.0.blocks.0.norm2") == (28, 28)
    assert swin.receptive_field("layers.0.blocks.1.norm2") == (56, 56)
    assert swin.receptive_field("norm") == (float("inf"), float("inf"))


def test_space_to_depth_is_exact_behind_the_next_convolution() -> None:
    class Focus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(48, 1, 3)

        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            x = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 3, 5, 1, 2, 4).reshape(n, 16 * c, h // 4, w // 4)
            out: Tensor = self.conv(x)
            return out

    assert examine(Focus(), (1, 3, 64, 64)).receptive_field("conv") == (12, 12)


def _state(model: nn.Module) -> Any:
    return (
        {k: v.clone() for k, v in model.state_dict().items()},
        [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m))) for m in model.modules()],
        [(p.requires_grad, p.grad, p._version, p.data_ptr()) for p in model.parameters()],
    )


def test_the_model_and_the_random_generator_are_left_alone() -> None:
    model = timm.create_model("efficientnet_lite0", drop_rate=0.2).train()
    called: list[int] = []
    model.register_forward_hook(lambda *_: called.append(1))
    state, metadata, parameters = _state(model)
    rng = torch.get_rng_state()
    first = examine(model, (2, 3, 64, 64))
    again = examine(model.eval(), (2, 3, 64, 64))
    model.train()
    state2, metadata2, parameters2 = _state(model)
    assert state.keys() == state2.keys()
    assert all(torch.equal(v, state2[k]) for k, v in state.items())
    assert (metadata, parameters, called) == (metadata2, parameters2, [])
    assert torch.equal(rng, torch.get_rng_state())
    assert first.layers.equals(again.layers)
    assert first.training_bytes_per_image == again.training_bytes_per_image


def test_it_needs_no_weights() -> None:
    model = load_model("vit_giant_patch14_clip_224")
    facts = examine(model, (1, 3, 224, 224))
    assert facts.total_params > 1_000_000_000
    assert facts.parameters["std"].null_count() == facts.parameters.height


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "vit_tiny_patch16_224", "densenet121"])
def test_training_bytes_are_near_what_autograd_saves(name: str) -> None:
    model = timm.create_model(name).train()
    seen: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept.append(storage)
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model(torch.rand(2, 3, 224, 224)).sum()
    assert examine(model, (2, 3, 224, 224)).training_bytes_per_image == pytest.approx(sum(seen.values()) / 2, rel=0.1)


def test_training_memory_adds_up() -> None:
    facts = examine(nn.Sequential(nn.Linear(10, 10, bias=False), nn.ReLU()), (1, 10))
    assert facts.training_memory(4, "sgd") == 400 + 400 + 4 * (facts.training_bytes_per_image + 40)
    assert facts.training_memory(4) - facts.training_memory(4, "sgd") == 800
    with pytest.raises(ValueError, match="adamw"):
        facts.training_memory(4, "lion5")


def test_nested_inputs_and_outputs() -> None:
    facts = examine(TextLstm(), torch.zeros(2, 12, dtype=torch.long))
    assert facts.num_outputs == 5
    assert facts.macs == 2 * 12 * (2 * 96 * (16 + 24) + 2 * 96 * (48 + 24)) + 2 * 48 * 5
    detector = torchvision.models.detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None)
    by_list = examine(detector, ([torch.zeros(3, 800, 800)],))
    assert by_list.macs == examine(detector, (1, 3, 800, 800)).macs > 0
    assert by_list.receptive_field("backbone.fpn.layer_blocks.0.0") == (459, 459)


def test_levels_of_a_detector() -> None:
    levels = examine(SmallDetector(), (1, 3, 256, 256)).levels
    assert levels.select("layer", "stride", "rf", "cells").rows() == [("stem", 8, 63, 1024), ("coarse", 16, 79, 256)]
    assert levels["anchors"].to_list() == [[24, 24], [64, 64]]


def test_rows_add_up_and_can_be_saved(tmp_path: Any) -> None:
    facts = examine(timm.create_model("efficientnet_b0"), (1, 3, 224, 224), name="b0")
    assert facts.layers["params"].sum() == facts.total_params == facts.parameters["numel"].sum()
    assert facts.layers["macs"].sum() == facts.macs
    facts.save(tmp_path)
    assert json.dumps(facts.scalars()) == json.dumps(NetworkFacts.load(tmp_path).scalars())


def test_unknown_operators_are_named() -> None:
    facts = examine(_Call(lambda x: torch.fft.rfft(x).real), (1, 3, 8, 8))
    assert facts.uncounted_operators == ["aten._fft_r2c"]


def test_hidden_layers_are_found_through_cycles() -> None:
    model = SmallNet()
    model.extra = {"deep": [nn.Linear(3, 3)]}  # type: ignore[assignment]
    model.extra["self"] = model.extra  # type: ignore[index]
    model.known = [model.conv1]  # type: ignore[assignment]
    assert examine(model, (1, 3, 32, 32)).unregistered == ["extra['deep'][0]"]


def test_bad_inputs_are_told_in_one_line() -> None:
    with pytest.raises(ExamineError, match=r"does not run on an input of shape \[1, 4, 32, 32\]"):
        examine(SmallNet(), (1, 4, 32, 32))
    with pytest.raises(ExamineError, match="did you mean 'resnet18'"):
        load_model("resnett18")
    with pytest.raises(ExamineError, match="library"):
        load_model("keras:vgg")
