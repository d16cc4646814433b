"""The subjects: a network with its data and settings under which it learns well in 2 to 3 seconds on one thread.

A subject is a function of the seed that returns a `Program`. Every one is healthy as it stands.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from benchmarks.chart import data, networks
from benchmarks.chart.program import Data, Program
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import Optimizer

Subject = Callable[[int], Program]
SUBJECTS: dict[str, Subject] = {}


def subject(make: Subject) -> Subject:
    """Enter a subject under the name of its function."""
    SUBJECTS[make.__name__] = make
    return make


# Scores of held-out data, higher is better.


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of right classes; classes are on axis 1 of outputs or, for sequences (N, T, C), on the last."""
    axis = 1 if outputs.dim() == 2 or targets.shape == outputs[:, 0].shape else -1
    return float((outputs.argmax(axis) == targets).float().mean())


def r_squared(outputs: Tensor, targets: Tensor) -> float:
    """Share of the target's variance that is explained."""
    return float(1 - (outputs - targets).square().mean() / targets.var(correction=0))


def mean_iou(outputs: Tensor, targets: Tensor) -> float:
    """Mean over classes of intersection over union, of class maps (N, C, H, W) against (N, H, W)."""
    guess = outputs.argmax(1)
    seen = targets != 255
    scores = [
        float(((guess == c) & (targets == c)).sum() / (((guess == c) & seen) | (targets == c)).sum().clamp(min=1))
        for c in range(outputs.shape[1])
    ]
    return sum(scores) / len(scores)


def recall_of_objects(outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> float:
    """Share of objects met by a detection of their class with score above 0.3 and IoU above 0.5."""
    met = total = 0
    for logits, found, target in zip(outputs["logits"], outputs["boxes"], targets, strict=True):
        score, label = logits.sigmoid().max(-1)
        for box, kind in zip(target["boxes"], target["labels"], strict=True):
            met += bool(((iou(found, box[None])[:, 0] > 0.5) & (label == kind) & (score > 0.3)).any())
            total += 1
    return met / total


# Losses.


def iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of boxes xyxy, (A, 4) and (B, 4) -> (A, B)."""
    low, high = torch.max(first[:, None, :2], second[None, :, :2]), torch.min(first[:, None, 2:], second[None, :, 2:])
    meet = (high - low).clamp(min=0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (first, second)]
    return meet / (areas[0][:, None] + areas[1][None] - meet).clamp(min=1e-6)


def assign(points: Tensor, target: dict[str, Tensor]) -> Tensor:
    """For each point (A, 2) the index of the object whose inner half holds it, or -1."""
    found = torch.full((len(points),), -1)
    for i, box in enumerate(target["boxes"]):
        centre, reach = (box[:2] + box[2:]) / 2, ((box[2:] - box[:2]) / 4).clamp(min=2.1)
        found[((points - centre).abs() <= reach).all(-1)] = i
    return found


def detection_loss(outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
    """Focal loss of the classes and 1 - IoU of the boxes, each over the number of positive cells."""
    class_loss, box_loss, positives = outputs["logits"].new_zeros(()), outputs["logits"].new_zeros(()), 0
    for logits, found, points, target in zip(
        outputs["logits"], outputs["boxes"], outputs["points"], targets, strict=True
    ):
        owner = assign(points, target)
        wanted = torch.zeros_like(logits)
        cells = (owner >= 0).nonzero()[:, 0]
        if len(cells):
            wanted[cells, target["labels"][owner[cells]]] = 1.0
            paired = target["boxes"][owner[cells]]
            low, high = torch.max(found[cells, :2], paired[:, :2]), torch.min(found[cells, 2:], paired[:, 2:])
            meet = (high - low).clamp(min=0).prod(-1)
            union = (found[cells, 2:] - found[cells, :2]).prod(-1) + (paired[:, 2:] - paired[:, :2]).prod(-1) - meet
            box_loss = box_loss + (1 - meet / union).sum()
        p = logits.sigmoid()
        weight = torch.where(wanted > 0, 0.5 * (1 - p) ** 2, 0.5 * p**2)
        class_loss = class_loss + (weight * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")).sum()
        positives += len(cells)
    return (4 * class_loss + box_loss) / max(positives, 1)


def language_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the next token: outputs (N, T, V), targets (N, T)."""
    return F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def vae_loss(outputs: dict[str, Tensor], targets: Tensor) -> Tensor:
    """Reconstruction and KL divergence, summed over values and averaged over samples."""
    rebuild = F.binary_cross_entropy_with_logits(outputs["logits"], targets, reduction="sum")
    kl = -0.5 * (1 + outputs["log_variance"] - outputs["mean"] ** 2 - outputs["log_variance"].exp()).sum()
    return (rebuild + kl) / len(targets)


def as_image(x: Tensor) -> Tensor:
    """Digits (N, 64) of 0..16 as normalised images (N, 1, 8, 8)."""
    return data.normalise_digits(x).view(-1, 1, 8, 8)


# Subjects.


@subject
def mlp(seed: int) -> Program:
    """Digits by an MLP, Adam."""
    return Program(
        networks.mlp(), *data.digits(), F.cross_entropy, accuracy, lr=2e-3, epochs=5,
        prepare=data.normalise_digits, seed=seed,
    )  # fmt: skip


@subject
def cnn(seed: int) -> Program:
    """Digits by convolutions with batch norm, SGD with momentum and weight decay."""
    return Program(
        networks.cnn(), *data.digits(), nn.CrossEntropyLoss(), accuracy, lr=0.05, optimizer=torch.optim.SGD,
        options={"momentum": 0.9, "weight_decay": 5e-4}, epochs=4, prepare=as_image, seed=seed,
    )  # fmt: skip


@subject
def resnet(seed: int) -> Program:
    """Shapes by a residual network, SGD with momentum, cosine."""
    return Program(
        networks.ResNet(), *data.shapes(), nn.CrossEntropyLoss(), accuracy, lr=0.05, optimizer=torch.optim.SGD,
        options={"momentum": 0.9, "weight_decay": 1e-4}, epochs=5, prepare=data.normalise_pixels, seed=seed,
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 80),
    )  # fmt: skip


@subject
def vit(seed: int) -> Program:
    """Digits by a small vision transformer, AdamW."""
    return Program(
        networks.ViT(size=8, patch=2, channels=1, classes=10), *data.digits(), F.cross_entropy, accuracy, lr=3e-3,
        optimizer=torch.optim.AdamW, options={"weight_decay": 0.05}, epochs=7, prepare=as_image, seed=seed,
    )  # fmt: skip


@subject
def unet(seed: int) -> Program:
    """Masks of shapes by a U-Net, Adam."""
    return Program(
        networks.UNet(), *data.masks(), nn.CrossEntropyLoss(), mean_iou, lr=5e-3, epochs=5, batch_size=16,
        prepare=data.normalise_pixels, task="segmentation", seed=seed,
    )  # fmt: skip


@subject
def detector(seed: int) -> Program:
    """Boxes of shapes by an anchor-free detector, AdamW."""
    return Program(
        networks.Detector(), *data.boxes(), detection_loss, recall_of_objects, lr=5e-3, optimizer=torch.optim.AdamW,
        epochs=6, batch_size=16, prepare=data.normalise_pixels, task="detection", seed=seed,
    )  # fmt: skip


@subject
def gru(seed: int) -> Program:
    """Forms of waves by a GRU, Adam, clipped at 1."""
    return Program(
        networks.Recurrent(nn.GRU),
        *data.series(),
        F.cross_entropy,
        accuracy,
        lr=8e-3,
        epochs=6,
        clip_norm=1.0,
        seed=seed,
    )


@subject
def lstm(seed: int) -> Program:
    """Forms of waves by an LSTM, Adam, clipped at 1."""
    return Program(
        networks.Recurrent(nn.LSTM, width=40), *data.series(), F.cross_entropy, accuracy, lr=1e-2, epochs=8,
        clip_norm=1.0, seed=seed,
    )  # fmt: skip


@subject
def gpt(seed: int) -> Program:
    """The next token by a causal transformer, AdamW."""
    return Program(
        networks.Gpt(), *data.text(), language_loss, accuracy, lr=5e-3, optimizer=torch.optim.AdamW,
        options={"weight_decay": 0.01}, epochs=4, task="language", seed=seed,
    )  # fmt: skip


@subject
def regression(seed: int) -> Program:
    """Progress of diabetes by an MLP, Adam, squared error."""
    return Program(
        networks.mlp(10, 32, 1, depth=1), *data.diabetes(), nn.MSELoss(), r_squared, lr=3e-3, epochs=8, batch_size=32,
        task="regression", seed=seed,
    )  # fmt: skip


@subject
def binary(seed: int) -> Program:
    """Even or odd digits by an MLP with one logit, Adam."""
    train, val = data.digits()
    for part in (train, val):
        part.y = (part.y % 2).float()[:, None]
    return Program(
        networks.mlp(64, 48, 1), train, val, nn.BCEWithLogitsLoss(),
        lambda out, y: float(((out > 0) == (y > 0.5)).float().mean()), lr=3e-3, epochs=4,
        prepare=data.normalise_digits, task="binary", seed=seed,
    )  # fmt: skip


@subject
def vae(seed: int) -> Program:
    """Digits by a variational autoencoder; the score is the share of variance that the reconstruction keeps."""
    train, val = data.digits()
    train, val = (Data(part.x / 16, part.x / 16) for part in (train, val))
    return Program(
        networks.Vae(), train, val, vae_loss, lambda out, y: r_squared(out["logits"].sigmoid(), y), lr=3e-3, epochs=6,
        task="generation", seed=seed,
    )  # fmt: skip


class GanProgram(Program):
    """Two networks against each other; `model` holds both, and there are two optimizers: judge's, then generator's."""

    def make_optimizers(self) -> list[Optimizer]:
        """One for each network."""
        return [self.optimizer(part.parameters(), lr=self.lr, **self.options) for part in self.parts()]

    def parts(self) -> Iterable[nn.Module]:
        """The judge and the generator."""
        return self.model["judge"], self.model["generator"]

    def learn(self) -> None:
        """The judge's step is taken here; the generator's backward follows, and `step` takes its step."""
        judge, generator = self.parts()
        for real, _ in self.micro_batches:
            self.inputs, self.targets = real, None
            ones = torch.ones(len(real), 1)
            fake = generator(torch.randn(len(real), 8))
            self.judge_loss = self.loss_fn(judge(real), ones) + self.loss_fn(judge(fake.detach()), 0 * ones)
            self.judge_loss.backward()
            self.optimizers[0].step()
            self.optimizers[1].zero_grad()
            self.outputs = judge(fake)
            self.loss = self.loss_fn(self.outputs, ones)
            self.loss.backward()

    def step(self) -> None:
        """Update the generator."""
        self.optimizers[1].step()

    def validate(self) -> dict[str, float] | None:
        """A GAN's losses say little, and nobody validates them."""
        return None

    def final_score(self) -> float | None:
        """1 - distance of the mean images, in units of the real pixels' spread: how alike real and made digits are."""
        _, generator = self.parts()
        generator.eval()
        with torch.no_grad():
            made = generator(torch.randn(256, 8, generator=torch.Generator().manual_seed(0)))
        real = self.prepare(self.val_data.x)
        return float(1 - (made.mean(0) - real.mean(0)).square().mean().sqrt() / real.std())


@subject
def gan(seed: int) -> Program:
    """Digits by two MLPs, Adam with beta 0.5."""
    parts = nn.ModuleDict(
        {
            "generator": nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh()),
            "judge": nn.Sequential(
                nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)
            ),
        }
    )
    train, val = data.digits()

    def prepare(x: Tensor) -> Any:
        return x / 8 - 1

    return GanProgram(
        parts, train, val, F.binary_cross_entropy_with_logits, accuracy, lr=1e-3, options={"betas": (0.5, 0.999)},
        epochs=4, prepare=prepare, task="generation", seed=seed,
    )  # fmt: skip
