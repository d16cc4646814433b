"""Healthy designs that resemble a defect are met with silence, and the numbers that the rules state are right."""

import pytest
import torch
from torch import Tensor, nn

from snellen.findings.finding import Finding
from snellen.findings.registry import find_rule
from snellen.network.examine import examine
from snellen.network.resolve import load_model


def found(rule: str, model: nn.Module, side: int = 32) -> list[Finding]:
    torch.manual_seed(0)
    judge = find_rule(rule)()
    return list(judge.check(examine(model, (1, 3, side, side), task="classification")))  # type: ignore[attr-defined]


def dilated(*rates: int, kernel: int = 3) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()]
    for rate in rates:
        layers += [nn.Conv2d(4, 4, kernel, padding=rate * (kernel // 2), dilation=rate), nn.ReLU()]
    return nn.Sequential(*layers)


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.main, self.norm = nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.short, self.out = nn.Conv2d(4, 8, 1, stride=2), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        out: Tensor = self.out(self.norm(self.main(x)) + self.short(x))
        return out


@pytest.mark.parametrize(
    ("rule", "model"),
    [
        ("gridding-dilation", dilated(1, 2, 5)),
        ("gridding-dilation", dilated(4)),
        ("gridding-dilation", dilated(4, 1, 4)),
        ("gridding-dilation", dilated(2, 2, 2)),
        ("stride-beyond-kernel", Shortcut()),
        ("relu-before-residual-sum", Shortcut()),
        ("checkerboard-upsampling", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 4, 2, 1))),
        ("checkerboard-upsampling", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 3, 1, 1))),
        ("repeated-activation", nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Tanh())),
        ("norm-without-shift", nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 4, 3))),
    ],
)
def test_silent(rule: str, model: nn.Module) -> None:
    assert [f.message for f in found(rule, model)] == []


def test_the_dilated_resnet_of_deeplab_is_let_pass() -> None:
    assert found("gridding-dilation", load_model("torchvision:deeplabv3_resnet50"), 224) == []


def test_a_run_sees_the_share_of_its_window_that_a_count_gives() -> None:
    (finding,) = found("gridding-dilation", dilated(4, 4))
    # Sums of {-4, 0, 4} twice are 5 offsets in a window of 17.
    assert f"{(5 / 17) ** 2:.0%} of the cells" in finding.message
    assert finding.affected == 2


def test_the_power_of_pytorchs_default_weights_falls_to_a_sixth_a_layer() -> None:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(14):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    torch.manual_seed(0)
    model = nn.Sequential(*layers)
    (finding,) = found("variance-lost-through-depth", model)
    stated = 10 ** finding.evidence["log10_power"]
    assert stated == pytest.approx(6.0**-15, rel=0.5)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        x = torch.randn(4, 3, 32, 32)
        assert 0.03 < float(model(x).pow(2).mean() / x.pow(2).mean()) / stated < 30
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    assert found("variance-lost-through-depth", model) == []
