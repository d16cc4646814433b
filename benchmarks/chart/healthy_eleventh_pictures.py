"""Classifiers of pictures, by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

import copy
from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import LeNet, block, evaluate, leaves, letters, standard, train
from benchmarks.chart.second import SecondCases, Split, accuracy, convs, cut, digits, signs
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

cases = SecondCases("eleventh")


@cache
def _scans(count: int, size: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1110)
    rows, cols = np.mgrid[:size, :size] / size
    x, y = draw.normal(0, 0.04, (count, 1, size, size)), (draw.uniform(0, 1, count) < share).astype(np.int64)
    for i in range(count):
        for side in (0.28, 0.72):
            lung = ((rows - 0.5) / 0.4) ** 2 + ((cols - side + draw.normal(0, 0.01)) / 0.18) ** 2 < 1
            x[i, 0] += np.where(lung, 0.15, 0.3)
        if y[i]:
            p, q, wide = draw.uniform(0.3, 0.7), draw.choice([0.28, 0.72]) + draw.normal(0, 0.03), draw.uniform(5, 9)
            x[i, 0] += draw.uniform(0.25, 0.4) * np.exp(-((rows - p) ** 2 + (cols - q) ** 2) * wide**2)
    return x.astype(np.float32), y


def scans(count: int = 1000, size: int = 24, share: float = 0.3) -> Split:
    """Grey pictures (N, 1, size, size) of lungs; `share` of them have an opacity (1)."""
    return standard(cut(*_scans(count, size, share)))


class Residual(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.down = None if stride == 1 and into == out else nn.Conv2d(into, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The same or half the size."""
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + (x if self.down is None else self.down(x)))


def resnet(channels: int, classes: int, width: int = 16) -> nn.Sequential:
    """A stem, three residual blocks, mean and head."""
    return nn.Sequential(
        block(channels, width), Residual(width, width), Residual(width, 2 * width, 2),
        Residual(2 * width, 4 * width, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes),
    )  # fmt: skip


def flips(x: Tensor, y: Any) -> tuple[Tensor, Any]:
    """Each picture from left to right, or not, and upside down, or not."""
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(2), x), y


def shifts(x: Tensor, y: Any) -> tuple[Tensor, Any]:
    """The batch moved by up to two pixels, as RandomCrop with padding does."""
    r, c = torch.randint(0, 5, (2,)).tolist()
    return F.pad(x, (2, 2, 2, 2), mode="replicate")[:, :, r : r + x.shape[2], c : c + x.shape[3]], y


@cases.recipe("resnet", 0.9)
def leaves_by_a_resnet(harness: Harness, seed: int) -> float:
    """A small ResNet, SGD with momentum and one-cycle up to 0.05, weight decay 5e-4, flips, validated by epochs."""
    model = resnet(3, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, epochs=5, steps_per_epoch=24)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(leaves()), epochs=5, scheduler=scheduler,
        when="batch", augment=flips,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def letters_smoothed_and_moved(harness: Harness, seed: int) -> float:
    """Letters moved by two pixels, label smoothing of 0.1, AdamW with a cosine per epoch, training loss told only."""
    model = convs(1, 10, 24)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.1), standard(letters()), epochs=8,
        scheduler=scheduler, augment=shifts, told="loss", val_criterion=nn.CrossEntropyLoss(),
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def scans_of_lungs_by_auc(harness: Harness, seed: int) -> float:
    """Three in ten have an opacity: one logit, pos_weight, Adam 1e-3, flips, plateau with patience 1; AUC is told."""
    x, y, vx, vy = scans()
    model = nn.Sequential(
        block(1, 12), nn.MaxPool2d(2), block(12, 24), nn.MaxPool2d(2), block(24, 48), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(48, 1),
    )  # fmt: skip
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([(y == 0).sum() / (y == 1).sum()]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    return train(
        harness, model, optimizer, criterion, (x, y.float()[:, None], vx, vy.float()[:, None]), epochs=8,
        scheduler=scheduler, when="plateau", augment=flips, name="auc",
        metric=lambda o, t: roc_auc_score(t.numpy().ravel(), o.numpy().ravel()),
    )  # fmt: skip


class FocalLoss(nn.Module):
    """Cross-entropy with less weight for what is already known."""

    def __init__(self, gamma: float = 2.0, alpha: Tensor | None = None) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over rows."""
        loss = F.cross_entropy(outputs, targets, reduction="none")
        weight = 1.0 if self.alpha is None else self.alpha[targets]
        return (weight * (1 - torch.exp(-loss)) ** self.gamma * loss).mean()


@cases.recipe("cnn", 0.7)
def rare_opacities_by_focal_loss(harness: Harness, seed: int) -> float:
    """One in eight is ill: focal loss with weights 0.4 and 0.6, AdamW, batches of 64, macro F1 on untouched data."""
    model = resnet(1, 2, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    return train(
        harness, model, optimizer, FocalLoss(2.0, torch.tensor([0.4, 0.6])), scans(1600, share=0.12), epochs=6, size=64,
        augment=flips, name="f1", best="metric",
        metric=lambda o, t: f1_score(t.numpy(), o.argmax(1).numpy(), average="macro"),
    )  # fmt: skip


class Vit(nn.Module):
    """Patches of two pixels, a class token, learnt places and the library's encoder."""

    def __init__(self, side: int = 4, classes: int = 10, dim: int = 48, layers: int = 2, patch: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, dim, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.places = nn.Parameter(torch.randn(1, side * side + 1, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.encoder(x)[:, 0]))


@cases.recipe("transformer", 0.85)
def digits_by_a_vit(harness: Harness, seed: int) -> float:
    """A ViT with a class token on real digits, AdamW 2e-3, linear warm-up of 30 steps, cosine, clipping at 1."""
    model, steps = Vit(), 22 * 14
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=30)
    cool = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - 30)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], [30])
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard"), epochs=14, size=48, scheduler=scheduler,
        when="batch", clip=1.0,
    )  # fmt: skip


@cases.recipe("cnn", 0.9)
def leaves_by_a_convmixer(harness: Harness, seed: int) -> float:
    """Patches, depthwise and pointwise convolutions with residuals, GELU and batch norm; AdamW in bfloat16."""

    class Add(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x

    def mixer(dim: int) -> list[nn.Module]:
        deep = Add(nn.Conv2d(dim, dim, 5, padding=2, groups=dim), nn.GELU(), nn.BatchNorm2d(dim))
        return [deep, nn.Conv2d(dim, dim, 1), nn.GELU(), nn.BatchNorm2d(dim)]

    model = nn.Sequential(
        nn.Conv2d(3, 48, 2, 2), nn.GELU(), nn.BatchNorm2d(48), *mixer(48), *mixer(48),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(leaves()), epochs=4, cast=torch.bfloat16, told="pair"
    )


@cases.recipe("cnn", 0.85)
def letters_with_squeezed_channels(harness: Harness, seed: int) -> float:
    """Squeeze and excitation after each block, RMSprop 1e-3, exponential decay of 0.9 per epoch."""

    class Squeeze(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.fc = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Sigmoid())

        def forward(self, x: Tensor) -> Tensor:
            return x * self.fc(x.mean((2, 3)))[:, :, None, None]

    model = nn.Sequential(
        block(1, 16), Squeeze(16), nn.MaxPool2d(2), block(16, 32), Squeeze(32), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(288, 10),
    )  # fmt: skip
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), letters(), epochs=6, scheduler=scheduler, clear="after"
    )


@cases.recipe("resnet", 0.9)
def leaves_mixed_in_pairs(harness: Harness, seed: int) -> float:
    """mixup with a beta of 0.2: soft targets for cross-entropy, SGD with Nesterov at 0.02, cosine, plain validation."""

    def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        share, other = float(np.random.beta(0.2, 0.2)), torch.randperm(len(x))
        hot = F.one_hot(y, 4).float()
        return share * x + (1 - share) * x[other], share * hot + (1 - share) * hot[other]

    model = resnet(3, 4, 12)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(leaves()), epochs=6, scheduler=scheduler, augment=mix
    )


@cases.recipe("cnn", 0.85)
def signs_from_a_dataset_of_dicts(harness: Harness, seed: int) -> float:
    """A Dataset gives {"image", "label"}, flips inside; train and validate functions, running means, best kept."""

    class Signs(Dataset):
        def __init__(self, x: Tensor, y: Tensor, augment: bool) -> None:
            self.x, self.y, self.augment = x, y, augment

        def __len__(self) -> int:
            return len(self.x)

        def __getitem__(self, i: int) -> dict[str, Any]:
            image = (self.x[i] - 0.35) / 0.25
            if self.augment:
                image = image + 0.05 * torch.randn(3, 1, 1)
            return {"image": image, "label": int(self.y[i])}

    x, y, vx, vy = signs(count=900)
    loader = DataLoader(Signs(x, y, True), batch_size=24, shuffle=True)
    val_loader = DataLoader(Signs(vx, vy, False), batch_size=64)
    model = convs(3, 4, 20)
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=criterion)
    best, kept = 0.0, copy.deepcopy(model.state_dict())
    for _ in range(9):
        model.train()
        losses, hits = [], 0
        for batch in loader:
            optimizer.zero_grad()
            out = model(batch["image"])
            loss = criterion(out, batch["label"])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            hits += int((out.argmax(1) == batch["label"]).sum())
            harness.step(loss=loss, inputs=batch["image"], targets=batch["label"], outputs=out)
        model.eval()
        right, val_loss = 0, 0.0
        with torch.no_grad():
            for batch in val_loader:
                out = model(batch["image"])
                val_loss += criterion(out, batch["label"]).item() * len(out) / len(vx)
                right += int((out.argmax(1) == batch["label"]).sum())
        value = right / len(vx)
        harness.epoch(
            train={"loss": float(np.mean(losses)), "accuracy": hits / len(x)}, val={"loss": val_loss, "accuracy": value}
        )
        if value > best:
            best, kept = value, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return best


@cases.recipe("cnn", 0.85)
def letters_of_two_properties(harness: Harness, seed: int) -> float:
    """Multi-label: which of six strokes a letter has (bars, slants), a sigmoid each, BCE, Adam; share of right ones."""
    table = torch.tensor([
        [0, 1, 0, 1, 1, 0], [1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 0, 1, 0, 1],
        [0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [1, 0, 1, 0, 0, 1],
    ]).float()  # fmt: skip
    x, y, vx, vy = standard(letters(1400))
    model = LeNet(classes=6)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    return train(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), (x, table[y], vx, table[vy]), epochs=6,
        metric=lambda o, t: float(((o > 0) == (t > 0.5)).float().mean()),
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def large_batches_with_a_scaled_rate(harness: Harness, seed: int) -> float:
    """Batches of 256 with the rate scaled to 0.2, five steps of warm-up, momentum, no decay for norms and biases."""
    model = convs(1, 10, 16)
    plain = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 1e-4}, {"params": plain}]
    optimizer = torch.optim.SGD(groups, lr=0.2, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 5) * (1 - s / 160))
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(letters(2200)), epochs=20, size=256,
        scheduler=scheduler, when="batch", told="outputs",
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def digits_by_svm_loss(harness: Harness, seed: int) -> float:
    """Homework: a CNN with a multi-class hinge loss and L2 in the optimizer, Adagrad at 0.02, batches of 50."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    )
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.02, weight_decay=1e-4)
    return train(harness, model, optimizer, nn.MultiMarginLoss(), digits("signed"), epochs=6, size=50, said="val")


@cases.recipe("cnn", 0.8)
def leaves_by_inception_and_nadam(harness: Harness, seed: int) -> float:
    """Branches of 1, 3 and 5 points joined along channels, NAdam, steps by number, validated every 25th step."""

    class Branches(nn.Module):
        def __init__(self, into: int, each: int) -> None:
            super().__init__()
            self.ways = nn.ModuleList(nn.Conv2d(into, each, k, padding=k // 2) for k in (1, 3, 5))
            self.norm = nn.BatchNorm2d(3 * each)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.norm(torch.cat([way(x) for way in self.ways], 1)))

    x, y, vx, vy = standard(leaves())
    model = nn.Sequential(
        Branches(3, 8), nn.MaxPool2d(2), Branches(24, 12), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(900, 4),
    )  # fmt: skip
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.NAdam(model.parameters(), lr=5e-4)
    harness.begin(model, optimizer, loss_fn=criterion)
    value, running = 0.0, 0.0
    for step in range(1, 151):
        model.train()
        rows = torch.randint(0, len(x), (32,))
        outputs = model(x[rows])
        loss = criterion(outputs, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item() / 25
        harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=outputs)
        if step % 25 == 0:
            val_loss, value = evaluate(model, vx, vy, criterion, accuracy)
            harness.epoch(train={"loss": running}, val={"loss": val_loss, "accuracy": value})
            running = 0.0
    return value
