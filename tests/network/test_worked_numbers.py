"""Worked numbers of textbooks and interview notes, each computed by one examination of the network they speak of."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snellen.network.examine import examine
from snellen.network.facts import NetworkFacts


def layer(facts: NetworkFacts, name: str) -> dict[str, Any]:
    return facts.layers.filter(facts.layers["layer"] == name).row(0, named=True)


@pytest.mark.parametrize(
    ("model", "shape", "params"),
    [
        # A 2 x 2 kernel on one channel, three filters, with biases.
        (nn.Conv2d(1, 3, 2), (1, 1, 5, 5), 15),
        (nn.Conv2d(1, 3, 1), (1, 1, 5, 5), 6),
        # (K^2 C_in + 1) C_out and K^2 C_in C_out.
        (nn.Conv2d(16, 32, 5), (1, 16, 9, 9), (25 * 16 + 1) * 32),
        (nn.Conv2d(16, 32, 5, bias=False), (1, 16, 9, 9), 25 * 16 * 32),
        (nn.Linear(7, 5), (1, 7), 7 * 5 + 5),
        (nn.Sequential(nn.Linear(7, 11), nn.Linear(11, 5)), (1, 7), 7 * 11 + 11 * 5 + (11 + 5)),
        # Two 3 x 3 against one 5 x 5: 18 to 25.
        (nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False)), (1, 8, 9, 9), 18 * 64),
        (nn.Conv2d(8, 8, 5, bias=False), (1, 8, 9, 9), 25 * 64),
        # Depthwise separable: (k^2 + C_out) C_in.
        (
            nn.Sequential(nn.Conv2d(16, 16, 3, groups=16, bias=False), nn.Conv2d(16, 32, 1, bias=False)),
            (1, 16, 9, 9),
            (9 + 32) * 16,
        ),
        # g (h (h + i) + h) counts one bias per gate; PyTorch keeps two.
        (nn.LSTM(3, 2, batch_first=True), (1, 4, 3), 4 * (2 * (2 + 3) + 2) + 4 * 2),
        (nn.GRU(8, 5, batch_first=True, bidirectional=True), (1, 4, 8), 450),
        (nn.LSTM(10, 50, batch_first=True), (1, 4, 10), 12_400),
    ],
)  # fmt: skip
def test_parameters(model: nn.Module, shape: tuple[int, ...], params: int) -> None:
    assert examine(model, shape).total_params == params


class StackedRecurrent(nn.Module):
    """A bidirectional GRU of 5 on 8 inputs, then an LSTM of 50 on its 10 outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 5, batch_first=True, bidirectional=True)
        self.lstm = nn.LSTM(10, 50, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(self.gru(x)[0])[0]


def test_parameters_of_a_stack_of_recurrent_layers() -> None:
    assert examine(StackedRecurrent(), (1, 6, 8)).total_params == 450 + 12_400


def test_multiplications_of_a_small_convolution() -> None:
    # 3 x 3 on 5 x 5: 9 places of 9 products; with the 8 additions of each, 17 x 9 = 153 operations.
    macs = examine(nn.Conv2d(1, 1, 3, bias=False), (1, 1, 5, 5)).macs
    assert macs == 81
    assert 2 * macs - 9 == 153


def test_inception_saves_by_bottlenecks() -> None:
    # 28 x 28 x 192 -> 1 x 1 x 32 -> 3 x 3 x 256: weights 79 872 against 442 368.
    whole = nn.Conv2d(192, 256, 3, padding=1, bias=False)
    split = nn.Sequential(nn.Conv2d(192, 32, 1, bias=False), nn.Conv2d(32, 256, 3, padding=1, bias=False))
    assert examine(whole, (1, 192, 28, 28)).total_params == 442_368
    assert examine(split, (1, 192, 28, 28)).total_params == 79_872


class Branches(nn.Module):
    """Four branches of 128, 192, 96 and 256 channels, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(256, n, 1) for n in (128, 192, 96, 256))
        self.last = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([branch(x) for branch in self.branches], 1))


def test_channels_of_concatenated_branches() -> None:
    assert layer(examine(Branches(), (1, 256, 28, 28)), "last")["output_shape"] == [1, 672, 28, 28]


def test_convolution_and_relu_in_flops() -> None:
    # (2 C K^2 - 1) H W C_out without bias, and one operation an element for ReLU: 305 280 000 + 5 760 000.
    facts = examine(nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.ReLU()), (1, 3, 300, 300))
    outputs = 300 * 300 * 64
    assert facts.flops - outputs == 305_280_000
    assert layer(facts, "1")["elementwise"] == outputs == 5_760_000


def test_pooling_costs_its_window_and_no_parameter() -> None:
    facts = examine(nn.Sequential(nn.MaxPool2d(2)), (1, 16, 8, 8))
    assert facts.total_params == facts.macs == 0
    assert layer(facts, "0")["elementwise"] == 4 * 4 * 4 * 16
    assert layer(examine(nn.Sequential(nn.AdaptiveAvgPool2d(1)), (1, 16, 8, 8)), "0")["elementwise"] == 8 * 8 * 16


def test_receptive_field_of_a_chain_by_its_own_recursion() -> None:
    # 3/1, pool 3/2, 3/1, pool 2/2, 3/1, 3/1, pool 2/2, told backwards: RF = (RF - 1) stride + kernel: 2, 4, ... 31.
    steps = [(3, 1), (3, 2), (3, 1), (2, 2), (3, 1), (3, 1), (2, 2)]
    kinds = ["conv", "pool", "conv", "pool", "conv", "conv", "pool"]
    model = nn.Sequential(
        *(
            nn.Conv2d(1, 1, k, s) if kind == "conv" else nn.MaxPool2d(k, s)
            for kind, (k, s) in zip(kinds, steps, strict=True)
        )
    )
    facts = examine(model, (1, 1, 96, 96))
    told = []
    for depth in range(1, len(steps) + 1):
        field = 1
        for k, s in reversed(steps[:depth]):
            field = (field - 1) * s + k
        told.append(field)
    assert told[-1] == 31
    assert [layer(facts, str(i))["rf_height"] for i in range(len(steps))] == told


def test_two_small_kernels_see_what_a_large_one_sees() -> None:
    small = examine(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)), (1, 1, 32, 32))
    three = examine(nn.Sequential(*(nn.Conv2d(1, 1, 3) for _ in range(3))), (1, 1, 32, 32))
    assert layer(small, "1")["rf_height"] == 5
    assert layer(three, "2")["rf_height"] == 7


class LocallyConnected(nn.Module):
    """A convolution without shared weights: every place has its own kernel."""

    def __init__(self, channels: int, out: int, kernel: int, side: int) -> None:
        super().__init__()
        self.kernel, self.places = kernel, (side - kernel + 1) ** 2
        self.weight = nn.Parameter(torch.zeros(out, self.places, channels * kernel**2))

    def forward(self, x: Tensor) -> Tensor:
        windows = nn.functional.unfold(x, self.kernel)
        return torch.einsum("ncp,opc->nop", windows, self.weight)


def test_a_local_connection_has_weights_for_every_place() -> None:
    facts = examine(LocallyConnected(16, 16, 9, 21), (1, 16, 21, 21))
    assert facts.total_params == facts.macs == 13 * 13 * 16 * 81 * 16
    shared = examine(nn.Conv2d(16, 16, 9, bias=False), (1, 16, 21, 21))
    assert shared.macs == facts.macs
    assert shared.total_params * 13 * 13 == facts.total_params


def test_attention_costs_four_projections_and_two_products() -> None:
    # n tokens of width d: 4 n d^2 + 2 n^2 d.
    n, d = 49, 64
    model = nn.MultiheadAttention(d, 4, batch_first=True)
    x = torch.empty(1, n, d, device="meta")
    assert examine(model, (x, x, x)).macs == 4 * n * d * d + 2 * n * n * d
