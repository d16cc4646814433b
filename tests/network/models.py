"""Small networks used as healthy subjects and as patients."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d


class TextLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 16)
        self.lstm = nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 5)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        states_NLC, _ = self.lstm(self.embed(tokens_NL))
        out: Tensor = self.head(states_NLC[:, -1])
        return out


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU()
    )


class UNet(nn.Module):
    """Two levels down, two up, as in Ronneberger et al. 2015."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = double_conv(3, 8), double_conv(8, 16), double_conv(16, 32)
        self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        self.join2, self.join1, self.out = double_conv(32, 16), double_conv(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        a = self.down1(x_NCHW)
        b = self.down2(max_pool2d(a, 2))
        c = self.bottom(max_pool2d(b, 2))
        b = self.join2(torch.cat([b, self.up2(c)], 1))
        a = self.join1(torch.cat([a, self.up1(b)], 1))
        return {"mask": self.out(a)}


class SmallNet(nn.Module):
    """A healthy classifier whose parts the injections replace."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.act1 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.act2 = nn.ReLU()
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(32, classes)
        self.last: nn.Module = nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.pool(self.act1(self.conv1(x_NCHW)))
        x = self.act2(self.conv2(x)).mean((2, 3))
        out: Tensor = self.last(self.head(self.drop(x)))
        return out


class SmallDetector(nn.Module):
    """Two anchor levels, strides 8 and 16."""

    num_classes = 1
    task = "detection"

    def __init__(self, sides: tuple[float, float] = (24.0, 64.0), depth: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for _ in range(3):
            layers += [nn.Conv2d(width, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()]
            width = 16
        for _ in range(depth):
            layers += [nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU()]
        self.stem = nn.Sequential(*layers)
        self.coarse = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.heads = nn.ModuleList([nn.Conv2d(16, 5, 3, padding=1), nn.Conv2d(16, 5, 3, padding=1)])
        self.sides = sides

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stem(x_NCHW)
        return self.heads[0](fine), self.heads[1](self.coarse(fine))

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        return [("stem", [self.sides[0]] * 2), ("coarse", [self.sides[1]] * 2)]
