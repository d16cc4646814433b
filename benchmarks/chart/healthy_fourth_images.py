"""Networks for small images, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import SecondCases, accuracy, digits, signs
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


@cases.recipe("mil", 0.8)
def bags_with_attention(harness: Harness, seed: int) -> float:
    """Multiple instances: is there a nine among eight digits? Gated attention over instances, one bag per step."""
    x, y, vx, vy = digits(image=False)

    def bag(pool: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        want = int(torch.randint(2, ()))
        rows = torch.randperm(len(pool))[:60]
        rows = rows[kinds[rows] != 9][: 8 - want]
        nines = (kinds == 9).nonzero().flatten()
        rows = torch.cat([rows, nines[torch.randint(len(nines), (want,))]])
        return pool[rows], torch.tensor(float(want))

    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
            self.v, self.u, self.w = nn.Linear(48, 24), nn.Linear(48, 24), nn.Linear(24, 1)
            self.head = nn.Linear(48, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.f(x)
            a = self.w(self.v(h).tanh() * self.u(h).sigmoid()).softmax(0)
            return self.head((a * h).sum(0)).squeeze()

    model = Pool()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4)

    def compute(i: int) -> Any:
        a, b = bag(x, y)
        out = model(a)
        return {"loss": F.binary_cross_entropy_with_logits(out, b), "inputs": a, "targets": b, "outputs": out}

    march(harness, model, optimizer, compute, 900)
    with torch.no_grad():
        tests = [bag(vx, vy) for _ in range(200)]
        return sum(float((model(a) > 0) == (b > 0.5)) for a, b in tests) / 200


@cases.recipe("mlp", 0.85)
def highways_closed_at_first(harness: Harness, seed: int) -> float:
    """Eight highway layers whose gates start closed (bias -2); Xavier's weights, momentum, batches of 25."""

    class Highway(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h, self.t = nn.Linear(40, 40), nn.Linear(40, 40)
            nn.init.constant_(self.t.bias, -2.0)

        def forward(self, x: Tensor) -> Tensor:
            t = self.t(x).sigmoid()
            return t * self.h(x).relu() + (1 - t) * x

    model = nn.Sequential(nn.Linear(64, 40), *(Highway() for _ in range(8)), nn.Linear(40, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    split = digits("standard", image=False, count=1200)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=7, size=25)


@cases.recipe("vit", 0.75)
def convolutional_stem_then_attention(harness: Harness, seed: int) -> float:
    """A compact transformer: convolutional tokens, learned positions, weighted pooling over the sequence."""

    class Compact(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            self.place = nn.Parameter(torch.zeros(1, 16, 32))
            nn.init.trunc_normal_(self.place, std=0.2)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm, self.weigh, self.head = nn.LayerNorm(32), nn.Linear(32, 1), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(self.body(self.stem(x).flatten(2).mT + self.place))
            return self.head((self.weigh(h).softmax(1) * h).sum(1))

    model = Compact()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    return school(harness, model, optimizer, loss_fn, digits("standard", count=900), epochs=5, tell="pair")


@cases.recipe("cnn", 0.85)
def single_images_and_groups(harness: Harness, seed: int) -> float:
    """Batches of one with GroupNorm and momentum 0.9 at a rate of 1e-3, two passes over 500 digits."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.GroupNorm(4, 32), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), digits("unit", count=900), epochs=2, size=1
    )  # fmt: skip


@cases.recipe("ensemble", 0.9)
def snapshots_of_cycles(harness: Harness, seed: int) -> float:
    """Snapshot ensemble: the rate falls from 0.2 to 0 by cosine three times, a copy is kept each time, all vote."""
    x, y, vx, vy = digits("standard", image=False)
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * (i % 100) / 100))))
    )
    kept: list[nn.Module] = []

    def compute(i: int) -> Tensor:
        a, b = some(40, x, y)
        return F.cross_entropy(model(a), b)

    def keep(i: int) -> None:
        if i % 100 == 99:
            kept.append(copy.deepcopy(model).eval())

    march(harness, model, optimizer, compute, 300, after=keep, scheduler=scheduler)
    with torch.no_grad():
        return accuracy(torch.stack([m(vx).softmax(1) for m in kept]).mean(0), vy)


@cases.recipe("cnn", 0.8)
def two_digits_and_two_heads(harness: Harness, seed: int) -> float:
    """House numbers: two digits side by side, one trunk, a head for each place; both must be right."""
    x, y, vx, vy = digits()

    def pairs(a: Tensor, b: Tensor, count: int) -> tuple[Tensor, Tensor]:
        i, j = torch.randint(len(a), (2, count), generator=torch.Generator().manual_seed(count))
        return torch.cat([a[i], a[j]], 3), torch.stack([b[i], b[j]], 1)

    (px, py), (tx, ty) = pairs(x, y, 1200), pairs(vx, vy, 300)
    model = nn.Sequential(
        block(1, 16), nn.MaxPool2d(2), block(16, 24), nn.Flatten(), nn.Linear(768, 64), nn.ReLU(),
        nn.Linear(64, 20), nn.Unflatten(1, (10, 2)),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), (px, py, tx, ty), epochs=4, size=32,
        score=lambda o, t: float((o.argmax(1) == t).all(1).float().mean()),
    )  # fmt: skip


@cases.recipe("cnn", 0.8)
def turned_filters_share_weights(harness: Harness, seed: int) -> float:
    """Group convolution over quarter turns: each filter is used four times turned, the maximum of the turns is kept."""

    class Turning(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(out, into, 3, 3))
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)

        def forward(self, x: Tensor) -> Tensor:
            turned = torch.cat([self.weight.rot90(k, (2, 3)) for k in range(4)])
            return F.conv2d(x, turned, padding=1).unflatten(1, (4, -1)).max(1).values

    x, y, vx, vy = signs(count=600)
    split = x - 0.3, y, vx - 0.3, vy
    model = nn.Sequential(
        Turning(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), Turning(8, 16), nn.BatchNorm2d(16), nn.ReLU(),
        nn.MaxPool2d(2), Turning(16, 24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=4, size=25, tell="pair")
