"""Networks for small images, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import school
from benchmarks.chart.second import SecondCases, digits, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchvision.transforms import v2

cases = SecondCases("fourth")


def block(into: int, out: int, stride: int = 1, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A convolution without bias, a batch norm, an activation."""
    return nn.Sequential(
        nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), act()
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def deep_stack_in_milestones(harness: Harness, seed: int) -> float:
    """VGG-like with batch norm, He's weights by a loop over modules, SGD 0.1, decay 5e-4, MultiStepLR."""
    model = nn.Sequential(
        block(1, 12), block(12, 12), nn.MaxPool2d(2), block(12, 24), block(24, 24), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
        elif isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, 0, 0.01)
            nn.init.zeros_(m.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5], gamma=0.1)
    split = digits("standard", count=1000)
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=6, size=50, scheduler=scheduler, percent=True
    )


@cases.recipe("cnn", 0.8)
def network_in_network(harness: Harness, seed: int) -> float:
    """1 x 1 convolutions after each 3 x 3 one, the last has a channel per class and is averaged: no linear layer."""
    model = nn.Sequential(
        nn.Conv2d(1, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 1), nn.ReLU(), nn.Dropout2d(0.1),
        nn.Conv2d(24, 32, 3), nn.ReLU(), nn.Conv2d(32, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    optimizer = torch.optim.Adamax(model.parameters(), lr=8e-3)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits("signed"), epochs=7, tell="loss")


@cases.recipe("cnn", 0.85)
def branches_and_an_auxiliary_head(harness: Harness, seed: int) -> float:
    """Inception-like branches joined; a second classifier half-way in training only, its loss times 0.3."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = block(1, 12)
            self.b1, self.b3 = block(12, 8), nn.Sequential(nn.Conv2d(12, 8, 1), nn.ReLU(), block(8, 8))
            self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(12, 8, 1))
            self.aux = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10))
            self.top = nn.Sequential(block(24, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

        def forward(self, x: Tensor) -> Any:
            h = self.stem(x)
            h = torch.cat([self.b1(h), self.b3(h), self.pool(h)], 1)
            return (self.top(h), self.aux(h)) if self.training else self.top(h)

    def loss_fn(out: Any, y: Tensor) -> Tensor:
        if isinstance(out, tuple):
            return F.cross_entropy(out[0], y) + 0.3 * F.cross_entropy(out[1], y)
        return F.cross_entropy(out, y)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return school(harness, model, optimizer, loss_fn, digits(count=1000), epochs=5, size=40)


@cases.recipe("mlp", 0.85)
def maximum_of_four_maps(harness: Harness, seed: int) -> float:
    """Maxout units: the maximum of four linear maps; dropout on inputs; weight norms limited after each step."""

    class Maxout(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(64, 48 * 4), nn.Linear(48, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(x, 0.1, self.training)
            return self.last(self.first(x).view(-1, 48, 4).max(2).values)

    model = Maxout()

    @torch.no_grad()
    def limit() -> None:
        model.first.weight.copy_(model.first.weight.renorm(2, 0, 2.0))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.7)
    split = digits(image=False)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=8, after_step=limit)


@cases.recipe("capsules", 0.8)
def capsules_agree(harness: Harness, seed: int) -> float:
    """Capsules with two rounds of routing, lengths as probabilities, margin loss."""

    class Capsules(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3, 2))
            self.w = nn.Parameter(0.1 * torch.randn(32, 10, 8, 4))

        @staticmethod
        def squash(s: Tensor) -> Tensor:
            n = s.square().sum(-1, keepdim=True)
            return n / (1 + n) * s / (n + 1e-8).sqrt()

        def forward(self, x: Tensor) -> Tensor:
            u = self.squash(self.stem(x).view(len(x), 8, 4, 4).flatten(2).view(len(x), 32, 4))
            votes = torch.einsum("nif,icdf->nicd", u, self.w)
            logits = votes.new_zeros(len(x), 32, 10)
            for _ in range(2):
                v = self.squash((logits.softmax(2)[..., None] * votes).sum(1))
                logits = logits + (votes.detach() * v[:, None]).sum(-1)
            return v.norm(dim=-1)

    def loss_fn(length: Tensor, y: Tensor) -> Tensor:
        hot = F.one_hot(y, 10).float()
        return (hot * (0.9 - length).relu() ** 2 + 0.5 * (1 - hot) * (length - 0.1).relu() ** 2).sum(1).mean()

    model = Capsules()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return school(harness, model, optimizer, loss_fn, digits(), epochs=6, size=32, percent=True)


@cases.recipe("cnn", 0.85)
def filters_that_are_given(harness: Harness, seed: int) -> float:
    """Fixed edge filters in a buffer, blurred down-sampling by another, only a small head is learned."""

    class Edges(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            angle = torch.arange(8) * torch.pi / 4
            gx = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
            kernels = angle.cos()[:, None, None] * gx + angle.sin()[:, None, None] * gx.T
            self.register_buffer("kernels", kernels[:, None])
            self.register_buffer("blur", torch.ones(8, 1, 2, 2) / 4)
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(128, 48), nn.ReLU(), nn.Linear(48, 10))

        def forward(self, x: Tensor) -> Tensor:
            h = F.conv2d(x, self.kernels, padding=1).relu()
            return self.head(F.conv2d(h, self.blur, stride=2, groups=8))

    model = Edges()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits(), epochs=7, tell="pair")


@cases.recipe("cnn", 0.8)
def augmented_by_transforms(harness: Harness, seed: int) -> float:
    """Signs under torchvision's random affine maps and colour jitter, normalised at the end; cosine by batch."""
    x, y, vx, vy = signs(count=720)
    norm = v2.Normalize([0.3] * 3, [0.2] * 3)
    change = v2.Compose([v2.RandomAffine(10, (0.1, 0.1)), v2.ColorJitter(0.2, 0.2), norm])
    model = nn.Sequential(
        block(3, 12, act=nn.SiLU), nn.MaxPool2d(2), block(12, 24, act=nn.SiLU), nn.MaxPool2d(2), block(24, 32),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6 * 17)
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, norm(vx), vy), epochs=6,
        augment=change, scheduler=scheduler, by_batch=True,
    )  # fmt: skip


@cases.recipe("cnn", 0.8)
def crops_in_training_five_in_testing(harness: Harness, seed: int) -> float:
    """Random crops of 7 pixels out of 8 in training; in testing the mean of the logits of five crops."""

    class Cropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(block(1, 16), block(16, 32, 2), nn.Flatten(), nn.Linear(512, 10))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                r, c = torch.randint(2, (2,)).tolist()
                return self.body(x[..., r : r + 7, c : c + 7])
            return torch.stack([self.body(p) for p in v2.functional.five_crop(x, [7, 7])]).mean(0)

    model = Cropped()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard"), epochs=5, drop_last=True)
