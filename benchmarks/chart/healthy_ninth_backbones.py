"""Residual networks and trained backbones, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

import copy
from functools import cache
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import evaluate, train_model
from benchmarks.chart.healthy_ninth_images import castings, faces, flip, garments, land, normalised, shift
from benchmarks.chart.second import SecondCases, Split, accuracy, dense, digits, draws, explained, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("ninth")


class Block(nn.Module):
    """The basic block: two convolutions and a shortcut."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride > 1 or into != out:
            self.downsample = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the next stage."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A stem, three stages and fc, with the names of the library's."""

    def __init__(self, classes: int, channels: int = 3, widths: tuple[int, ...] = (16, 24, 32)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = Block(widths[0], widths[0])
        self.layer2 = Block(widths[0], widths[1], 2)
        self.layer3 = Block(widths[1], widths[2], 2)
        self.fc: nn.Module = nn.Linear(widths[2], classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """A vector per picture."""
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.features(x))


@cache
def _downloaded() -> dict[str, Tensor]:
    """Weights of a `ResNet` of ten classes, trained on signs and coloured garments; drawn apart from the program."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(77)
        a, b = signs(count=500), garments(700)
        clothes = F.pad(b[0], [2] * 4) * torch.rand(len(b[0]), 3, 1, 1) + 0.3 * torch.rand(len(b[0]), 3, 1, 1)
        x, y = torch.cat([a[0], clothes.clamp(0, 1)]), torch.cat([a[1], b[1] + 4])
        x = (x - 0.3) / 0.25
        model = ResNet(10)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(4):
            for p, q in draws(x, y, 32):
                optimizer.zero_grad()
                F.cross_entropy(model(p), q).backward()
                optimizer.step()
    return model.state_dict()


def resnet(classes: int) -> ResNet:
    """The trained network with a fresh head, as `resnet18(weights="DEFAULT")` and `model.fc = nn.Linear(...)`."""
    model = ResNet(10)
    model.load_state_dict(copy.deepcopy(_downloaded()))
    model.fc = nn.Linear(32, classes)
    return model


def as_trained(split: Split) -> Split:
    """Pixels normalised with the constants of the trained network."""
    x, y, vx, vy = split
    return (x - 0.3) / 0.25, y, (vx - 0.3) / 0.25, vy


@cases.recipe("resnet", 0.85)
def resnet_from_scratch_on_land(harness: Harness, seed: int) -> float:
    """A small ResNet from scratch: SGD 0.02, momentum, weight decay 5e-4, cosine, crops and flips."""
    model = ResNet(5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), normalised(land()), epochs=6, scheduler=scheduler,
        change=lambda x, y: flip(*shift(x, y)), train_metric=True, drop_last=True,
    )  # fmt: skip


@cases.recipe("resnet", 0.9)
def resnet_on_digits_with_adam(harness: Harness, seed: int) -> float:
    """A ResNet for one channel, Adam at 1e-3, no schedule, no augmentation, four epochs, the best accuracy is kept."""
    model = ResNet(10, 1, (16, 16, 32))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), digits("unit"), epochs=4, keep_best=True, told="loss"
    )


@cases.recipe("transfer", 0.75)
def head_on_a_frozen_backbone(harness: Harness, seed: int) -> float:
    """requires_grad is False but for fc; the optimizer gets fc's parameters only; StepLR, as in the tutorial."""
    model = resnet(5)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc")
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.02, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.1)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), as_trained(land(700)), epochs=8, size=16,
        scheduler=scheduler, change=flip,
    )  # fmt: skip


@cases.recipe("transfer", 0.75)
def whole_network_is_fine_tuned(harness: Harness, seed: int) -> float:
    """All layers learn at 1e-3 with momentum, 0.1 every four epochs, batches of 8, best accuracy by deepcopy."""
    model = resnet(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=2e-3, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 4, gamma=0.1)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), as_trained(faces(400)), epochs=5, size=8,
        scheduler=scheduler, change=flip, train_metric=True, keep_best=True,
    )  # fmt: skip


@cases.recipe("transfer", 0.85)
def slow_backbone_fast_head(harness: Harness, seed: int) -> float:
    """Two parameter groups: the backbone at 3e-4, the head at 3e-3, AdamW, cosine, label smoothing."""
    model = resnet(5)
    head = list(model.fc.parameters())
    body = [p for n, p in model.named_parameters() if not n.startswith("fc")]
    optimizer = torch.optim.AdamW([{"params": body, "lr": 3e-4}, {"params": head, "lr": 3e-3}], weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.1), as_trained(land(800)), epochs=5, size=16,
        scheduler=scheduler, change=flip, val_criterion=nn.CrossEntropyLoss(),
    )  # fmt: skip


@cases.recipe("transfer", 0.8)
def backbone_in_eval_mode_under_no_grad(harness: Harness, seed: int) -> float:
    """The backbone is another module, frozen and in eval mode under no_grad; the watch sees the classifier only."""
    x, y, vx, vy = as_trained(land(800))
    backbone = resnet(5).eval().requires_grad_(False)
    head = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 5))
    optimizer = torch.optim.Adam(head.parameters(), lr=2e-3)
    harness.begin(head, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for _ in range(10):
        head.train()
        total = 0.0
        for a, b in draws(x, y, 25):
            a = flip(a, b)[0]
            with torch.no_grad():
                features = backbone.features(a)
            out = head(features)
            loss = F.cross_entropy(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=features, targets=b, outputs=out)
            total += loss.item() * len(a)
        with torch.no_grad():
            held = backbone.features(vx)
        val_loss, value = evaluate(head, held, vy, F.cross_entropy, accuracy)
        harness.epoch(train={"loss": total / len(x)}, val={"loss": val_loss, "accuracy": value})
    return value


@cases.recipe("transfer", 0.85)
def head_first_then_everything(harness: Harness, seed: int) -> float:
    """Three epochs of the head alone, then all layers are thawed with an optimizer of a smaller rate and watched."""
    x, y, vx, vy = as_trained(faces(500))
    model = resnet(2)
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("fc")
    warm = torch.optim.Adam(model.fc.parameters(), lr=3e-3)
    for _ in range(3):
        for a, b in draws(x, y, 16):
            warm.zero_grad()
            F.cross_entropy(model(a), b).backward()
            warm.step()
    model.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-4)
    return train_model(harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=7, size=16, change=flip)


@cases.recipe("transfer", 0.75)
def batch_norm_of_the_backbone_stays(harness: Harness, seed: int) -> float:
    """Fine-tuned for rare defects with small batches: train() of the model keeps its batch norms in eval mode."""
    x, y, vx, vy = castings(900, share=0.3)
    x, vx = x.expand(-1, 3, -1, -1), vx.expand(-1, 3, -1, -1)

    class Tuned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = resnet(2)

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            for m in self.backbone.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.backbone(x)

    model = Tuned()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), ((x - 0.5) / 0.15, y, (vx - 0.5) / 0.15, vy), epochs=5,
        size=12, change=flip, told="pair",
    )  # fmt: skip


@cases.recipe("transfer", 0.8)
def last_stage_and_head(harness: Harness, seed: int) -> float:
    """layer3 and fc learn, the rest is frozen; filter(requires_grad) for the optimizer; patience of three epochs."""
    model = resnet(5)
    model.fc = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 5))
    model.requires_grad_(False)
    for part in (model.layer3, model.fc):
        part.requires_grad_(True)
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-3)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), as_trained(land(800)), epochs=8, size=32, patience=3,
        change=flip,
    )  # fmt: skip


@cases.recipe("transfer", 0.8)
def place_of_a_sign_from_a_picture(harness: Harness, seed: int) -> float:
    """The trained network keeps its map: a head of two numbers says where a sign stands, smooth L1, Adam."""
    x, y, vx, vy = as_trained(signs(what="middles"))
    backbone = resnet(2)

    class Finder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            stem = nn.Sequential(backbone.conv1, backbone.bn1, nn.ReLU())
            self.trunk = nn.Sequential(stem, backbone.layer1, backbone.layer2, backbone.layer3)
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(800, 32), nn.ReLU(), nn.Linear(32, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.trunk(x))

    model = Finder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train_model(
        harness, model, optimizer, nn.SmoothL1Loss(), (x, y / 10 - 1, vx, vy / 10 - 1), epochs=8, metric=explained,
        name=None,
    )  # fmt: skip


@cases.recipe("vit", 0.85)
def small_vision_transformer_with_warm_up(harness: Harness, seed: int) -> float:
    """A ViT of two layers on patches of four pixels, AdamW, linear warm-up then cosine by LambdaLR, clipping at 1."""
    x, y, vx, vy = normalised(garments())

    class ViT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(1, 48, 4, 4)
            self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, 48)), nn.Parameter(0.02 * torch.randn(1, 17, 48))
            layer = nn.TransformerEncoderLayer(48, 4, 96, 0.1, "gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 6)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1) + self.pos
            return self.head(self.norm(self.encoder(tokens)[:, 0]))

    model = ViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    total = 32 * 7

    def rate(step: int) -> float:
        done = torch.tensor(max(step - 30, 0) / (total - 30))
        return (step + 1) / 30 if step < 30 else float(0.5 * (1 + (torch.pi * done).cos()))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=7, scheduler=scheduler, when="batch",
        clip=1.0, drop_last=True,
    )  # fmt: skip


@cases.recipe("resnet", 0.85)
def grown_batch_by_accumulation(harness: Harness, seed: int) -> float:
    """A ResNet on signs: four small batches of 8 per step, losses divided by four, SGD with a plateau scheduler."""
    model = ResNet(4, 3, (12, 16, 24))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), normalised(signs()), epochs=6, size=8, accumulate=4,
        scheduler=scheduler, when="plateau",
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def depthwise_separable_with_swish(harness: Harness, seed: int) -> float:
    """Like MobileNet: depthwise and pointwise convolutions, SiLU, dropout, RMSprop with momentum and decay."""

    def stage(into: int, out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(into, into, 3, stride, 1, groups=into, bias=False), nn.BatchNorm2d(into), nn.SiLU(),
            nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out), nn.SiLU(),
        )  # fmt: skip

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU(), stage(16, 32, 2), stage(32, 48, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), *dense(48, 6),
    )  # fmt: skip
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), normalised(garments()), epochs=6, scheduler=scheduler,
        change=shift,
    )  # fmt: skip
