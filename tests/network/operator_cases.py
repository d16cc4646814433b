"""One small network per operator, with the multiply-adds of one forward pass worked out by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torchvision.ops import DeformConv2d


class Call(nn.Module):
    """Applies a function to the input and to parameters of the given shapes."""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(torch.rand(s)) for s in shapes])

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs, *self.weights)


class Loop(nn.Module):
    """A cell over the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, 6)

    def forward(self, x_LNC: Tensor) -> Tensor:
        h, c = torch.zeros_like(x_LNC[0, :, :6]), torch.zeros_like(x_LNC[0, :, :6])
        for x_NC in x_LNC:
            h, c = self.cell(x_NC, (h, c))
        return h


class Deformable(nn.Module):
    """Offsets by one convolution, then the deformable one."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(4, 18, 3, padding=1)
        self.conv = DeformConv2d(4, 8, 3, padding=1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = self.conv(x_NCHW, self.offsets(x_NCHW))
        return out


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of a sequence with itself, or with keys and values of other widths."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True, **options)

    def forward(self, x_NLC: Tensor) -> Tensor:
        out: Tensor = self.attention(x_NLC, x_NLC, x_NLC)[0]
        return out


class Tied(nn.Module):
    """Two layers, one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x))
        return out


class Thrice(nn.Module):
    """One layer called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.layer(self.layer(x)))
        return out


class StandardisedConv(nn.Conv2d):
    """A convolution that computes its weight, in a subclass."""

    def forward(self, input: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        return functional.conv2d(input, weight, self.bias, padding=1)


class Product(torch.autograd.Function):
    """A matrix product with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return grads[0] @ weight.T, x.T @ grads[0]


class Branch(nn.Module):
    """Which of two equal layers runs depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.a(x) if x.sum() > 0 else self.b(x)
        return out


class Inference(nn.Conv2d):
    """A forward that switches gradients off for good."""

    @torch.inference_mode()
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input)


class Checkpointed(nn.Module):
    """Activations are computed anew in backward."""

    def __init__(self, reentrant: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


class LocallyConnected(nn.Module):
    """A convolution whose weights differ from place to place: unfolded patches times one matrix per place."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(16, 8, 27))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        patches_NPK = functional.unfold(x_NCHW, 3).mT
        return torch.einsum("npk,pok->npo", patches_NPK, self.weight)


@dataclass(frozen=True)
class Case:
    """`shape` of the input, dtype float32 if not said otherwise; `macs` of one forward pass."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    macs: int
    dtype: torch.dtype = torch.float32


def _sdpa(x: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(x, x, x)


def _grouped_queries(x: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True)


_IMAGE = (1, 16, 10, 10)

CASES: dict[str, Case] = {
    "Conv2d 3x3": Case(lambda: nn.Conv2d(16, 32, 3, padding=1), _IMAGE, 100 * 9 * 512),
    "Conv2d (1,7) asymmetric": Case(lambda: nn.Conv2d(16, 32, (1, 7), padding=(0, 3)), _IMAGE, 100 * 7 * 512),
    "Conv2d padding='same'": Case(lambda: nn.Conv2d(16, 32, (1, 4), padding="same"), _IMAGE, 100 * 4 * 512),
    "Conv2d asymmetric stride": Case(lambda: nn.Conv2d(16, 32, 3, (2, 1), 1), _IMAGE, 50 * 9 * 512),
    "Conv2d groups=4": Case(lambda: nn.Conv2d(16, 32, 3, groups=4, padding=1), _IMAGE, 100 * 9 * 4 * 32),
    "Conv2d depthwise": Case(lambda: nn.Conv2d(16, 16, 3, groups=16, padding=1), _IMAGE, 100 * 9 * 16),
    "Conv2d dilation=2": Case(lambda: nn.Conv2d(16, 32, 3, dilation=2, padding=2), _IMAGE, 100 * 9 * 512),
    "Conv1d": Case(lambda: nn.Conv1d(4, 8, 5), (1, 4, 20), 16 * 5 * 32),
    "Conv3d": Case(lambda: nn.Conv3d(4, 8, 3), (1, 4, 5, 6, 7), 3 * 4 * 5 * 27 * 32),
    "Conv3d (1,3,3)": Case(lambda: nn.Conv3d(4, 8, (1, 3, 3)), (1, 4, 5, 6, 7), 5 * 4 * 5 * 9 * 32),
    "ConvTranspose2d k4 s2 p1": Case(lambda: nn.ConvTranspose2d(8, 4, 4, 2, 1), (1, 8, 5, 5), 25 * 16 * 32),
    "ConvTranspose2d groups=4": Case(lambda: nn.ConvTranspose2d(8, 4, 4, 2, 1, groups=4), (1, 8, 5, 5), 25 * 16 * 8),
    "DeformConv2d": Case(Deformable, (1, 4, 6, 6), 36 * 9 * 4 * 18 + 36 * 9 * 4 * 8),
    "Linear 3-D input": Case(lambda: nn.Linear(8, 5), (3, 7, 8), 21 * 40),
    "F.linear(Parameter)": Case(lambda: Call(functional.linear, (5, 8)), (3, 8), 3 * 40),
    "F.conv2d(Parameter)": Case(lambda: Call(functional.conv2d, (8, 4, 3, 3)), (1, 4, 6, 6), 16 * 9 * 32),
    "x @ Parameter": Case(lambda: Call(torch.matmul, (8, 5)), (3, 8), 3 * 40),
    "torch.matmul 4-D q@k.T": Case(lambda: Call(lambda x: x @ x.mT), (2, 3, 4, 8), 6 * 4 * 8 * 4),
    "torch.bmm": Case(lambda: Call(lambda x: torch.bmm(x, x)), (2, 4, 4), 2 * 64),
    "torch.baddbmm": Case(lambda: Call(lambda x: torch.baddbmm(x, x, x)), (2, 4, 4), 2 * 64),
    "torch.einsum": Case(lambda: Call(lambda x: torch.einsum("nchw,ncij->nhwij", x, x)), (1, 3, 4, 5), 20 * 3 * 20),
    "F.sdpa": Case(lambda: Call(_sdpa), (1, 2, 6, 8), 2 * 2 * 36 * 8),
    "F.sdpa GQA": Case(lambda: Call(_grouped_queries), (1, 4, 6, 8), 2 * 4 * 36 * 8),
    "nn.MultiheadAttention": Case(SelfAttention, (2, 6, 16), 2 * (4 * 6 * 256 + 2 * 36 * 16)),
    "nn.TransformerEncoderLayer": Case(
        lambda: nn.TransformerEncoderLayer(8, 2, 32, batch_first=True), (1, 6, 8), 6 * 12 * 64 + 2 * 36 * 8
    ),
    "nn.LSTM": Case(lambda: nn.LSTM(6, 5, batch_first=True), (2, 7, 6), 14 * 4 * 5 * 11),
    "nn.LSTM bidirectional x2": Case(
        lambda: nn.LSTM(6, 5, 2, bidirectional=True), (7, 2, 6), 14 * 2 * (20 * 11 + 20 * 15)
    ),
    "nn.GRU": Case(lambda: nn.GRU(6, 5), (7, 2, 6), 14 * 15 * 11),
    "LSTMCell in a loop": Case(Loop, (5, 2, 8), 10 * 24 * 14),
    "module called 3 times": Case(Thrice, (4, 8), 3 * 4 * 64),
    "tied weights": Case(Tied, (4, 8), 2 * 4 * 64),
    "weight_norm Conv2d": Case(
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 3)), (1, 4, 6, 6), 16 * 9 * 32
    ),
    "Conv2d subclass (StdConv)": Case(lambda: StandardisedConv(4, 8, 3), (1, 4, 6, 6), 36 * 9 * 32),
    "autograd.Function matmul": Case(lambda: Call(Product.apply, (8, 5)), (3, 8), 3 * 40),
    "data-dependent if": Case(Branch, (4, 8), 4 * 64),
    "dict output with None": Case(
        lambda: Call(lambda x, w: {"out": functional.linear(x, w), "aux": None}, (5, 8)), (3, 8), 3 * 40
    ),
    "@inference_mode forward": Case(lambda: Inference(4, 8, 3), (1, 4, 6, 6), 16 * 9 * 32),
    "activation checkpointing": Case(Checkpointed, (4, 8), 4 * 256),
    "bf16 Conv2d": Case(lambda: nn.Conv2d(4, 8, 3).bfloat16(), (1, 4, 6, 6), 16 * 9 * 32, torch.bfloat16),
    "unfold + matmul": Case(lambda: Call(lambda x, w: w @ functional.unfold(x, 3), (8, 36)), (1, 4, 6, 6), 16 * 9 * 32),
    "torch.compile(Linear)": Case(lambda: torch.compile(nn.Linear(8, 5)), (3, 8), 3 * 40),  # type: ignore[arg-type, return-value]
}
"""The forty-one cases on which counters of operations are known to differ."""

MORE: dict[str, Case] = {
    "locally connected": Case(LocallyConnected, (2, 3, 6, 6), 2 * 16 * 8 * 27),
    "nn.RNN bidirectional": Case(lambda: nn.RNN(6, 5, bidirectional=True), (7, 2, 6), 14 * 2 * 5 * 11),
    "nn.GRU bidirectional x2": Case(
        lambda: nn.GRU(6, 5, 2, batch_first=True, bidirectional=True), (2, 7, 6), 14 * 2 * 15 * (11 + 15)
    ),
    "nn.LSTM with projection": Case(lambda: nn.LSTM(6, 5, proj_size=3), (7, 2, 6), 14 * (20 * 9 + 15)),
    "nn.Bilinear": Case(
        lambda: Call(lambda x, w: functional.bilinear(x, x, w), (4, 3, 3)), (2, 3), 2 * 36
    ),
    "ConvTranspose1d": Case(lambda: nn.ConvTranspose1d(8, 4, 4, 2), (1, 8, 5), 5 * 4 * 32),
    "ConvTranspose3d": Case(lambda: nn.ConvTranspose3d(8, 4, 2, 2), (1, 8, 2, 3, 4), 24 * 8 * 32),
    "MultiheadAttention, weights averaged": Case(
        lambda: SelfAttention(add_bias_kv=True), (2, 6, 16), 2 * (4 * 6 * 256 + 2 * 6 * 7 * 16)
    ),
    "TransformerEncoderLayer, norm first": Case(
        lambda: nn.TransformerEncoderLayer(8, 2, 32, batch_first=True, norm_first=True, activation="gelu"),
        (1, 6, 8), 6 * 12 * 64 + 2 * 36 * 8,
    ),
    "TransformerDecoderLayer": Case(
        lambda: Call2(nn.TransformerDecoderLayer(8, 2, 32, batch_first=True)), (1, 6, 8), 6 * 16 * 64 + 4 * 36 * 8
    ),
    "checkpointing, reentrant": Case(lambda: Checkpointed(True), (4, 8), 4 * 256),
    "spectral_norm Linear": Case(
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 5)), (3, 8), 3 * 40 + 8 * 5 + 5
    ),
}  # fmt: skip
"""Forms beyond those."""


class Call2(nn.Module):
    """A module that wants its input twice."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Any:
        return self.module(x, x)
