"""Multiply-adds of every operator: forward in closed form in every mode, backward as a real backward counts them."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from snellen.network.examine import examine
from snellen.network.resolve import load_model
from tests.network.operator_cases import CASES, MORE, Case

ALL: Mapping[str, Case] = {**CASES, **MORE}


def test_there_are_forty_one_cases_and_more() -> None:
    assert len(CASES) == 41
    assert not CASES.keys() & MORE.keys()


class _Asks(nn.Module):
    """Reads a value of its input, so that only a real pass can tell what follows."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> object:
        return self.inner(x) if float(x.flatten()[0]) >= 0 else None


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mode", ["eval", "train", "no_grad", "inference", "frozen", "compiled", "meta", "real"])
def test_forward_macs(name: str, mode: str) -> None:
    case = ALL[name]
    with torch.device("meta" if mode == "meta" else "cpu"):
        model = case.build()
        x = torch.ones(case.shape, dtype=case.dtype)
    model.train(mode == "train").requires_grad_(mode != "frozen")
    if mode == "compiled" and not hasattr(model, "_orig_mod"):
        model = torch.compile(model)  # type: ignore[assignment]
    if mode == "real":
        model = _Asks(model)
    with torch.set_grad_enabled(mode != "no_grad"), torch.inference_mode(mode == "inference"):
        facts = examine(model, x)
    assert facts.macs == case.macs == facts.layers["macs"].sum() == facts.operators["macs"].sum()
    assert facts.flops == 2 * case.macs
    assert facts.uncounted_operators == []


IN_CLOSED_FORM = {
    # The input wants no gradient: the offsets' weight; weight and offsets of the deformable convolution.
    "DeformConv2d": 36 * 9 * 4 * 18 + 2 * 36 * 9 * 4 * 8,
    "Conv2d groups=4": 100 * 9 * 4 * 32,
    "Conv2d depthwise": 100 * 9 * 16,
    "ConvTranspose2d groups=4": 25 * 16 * 8,
    "nn.Bilinear": 2 * 36,
    "@inference_mode forward": 0,
    # This form of checkpointing passes gradients on only where an input wants one.
    "checkpointing, reentrant": 0,
}
"""FlopCounterMode does not know their operators, or charges groups too much."""

FUSED_ON_THE_PROCESSOR = {"nn.LSTM", "nn.LSTM bidirectional x2", "spectral_norm Linear"}
"""Their real backward is one operator which the counter does not know."""


@pytest.mark.parametrize("name", IN_CLOSED_FORM)
def test_backward_macs_in_closed_form(name: str) -> None:
    case = ALL[name]
    assert examine(case.build(), torch.ones(case.shape, dtype=case.dtype)).backward_macs == IN_CLOSED_FORM[name]


@pytest.mark.parametrize("name", sorted(ALL.keys() - IN_CLOSED_FORM.keys() - FUSED_ON_THE_PROCESSOR))
def test_backward_macs_are_those_of_a_real_backward(name: str) -> None:
    case = ALL[name]
    facts = examine(case.build(), torch.ones(case.shape, dtype=case.dtype))
    model = case.build().eval()
    out = getattr(model, "_orig_mod", model)(torch.ones(case.shape, dtype=case.dtype))
    ends = [t for t in tree_iter(out) if isinstance(t, Tensor) and t.requires_grad]
    with FlopCounterMode(display=False) as counter:
        if ends:
            torch.autograd.backward(ends, [torch.ones_like(t) for t in ends])
    assert 2 * facts.backward_macs == counter.get_total_flops()


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mixer_s32_224", "torchvision:swin_t"])
def test_backward_macs_of_networks(name: str) -> None:
    model = load_model(name).eval()
    facts = examine(model, (1, 3, 224, 224))
    # The fused attention kernel computes the scores anew; spelt out, as without values, it keeps them.
    out = model(torch.empty(1, 3, 224, 224, device="meta"))
    with FlopCounterMode(display=False) as counter:
        out.backward(torch.empty_like(out))
    fused = facts.operators.filter(facts.operators["operator"].str.contains("scaled_dot_product"))["macs"].sum()
    assert 2 * (facts.backward_macs - fused // 2) == counter.get_total_flops()


def test_frozen_networks_have_no_backward() -> None:
    assert examine(load_model("resnet18").requires_grad_(False), (1, 3, 64, 64)).backward_macs == 0


def test_unknown_operators_are_named_wherever_they_run() -> None:
    class Spectrum(nn.Module):
        @torch.inference_mode()
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x).real

    assert examine(Spectrum(), (1, 3, 8, 8)).uncounted_operators == ["aten._fft_r2c"]


def test_functions_whose_backward_needs_values_are_named() -> None:
    class Picky(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: object, *grads: Tensor) -> Tensor:
            return grads[0] * float(grads[0].sum())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = Picky.apply(self.layer(x))
            return out

    facts = examine(Net(), (2, 4))
    assert facts.macs == facts.backward_macs == 32
    assert facts.assumptions is not None
    assert "backward of Picky not counted" in facts.assumptions[0]
