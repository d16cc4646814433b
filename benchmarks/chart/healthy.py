"""Healthy runs, on which thresholds may be set: subjects as they stand, and with every harmless change of the trade.

Whole loops that are no `Program` (adversarial, contrastive, diffusion, ...) stand in `healthy_loops.py`.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from benchmarks.chart import networks
from benchmarks.chart.case import Cases
from benchmarks.chart.data import normalise_digits
from benchmarks.chart.program import Program
from benchmarks.chart.subjects import SUBJECTS, accuracy, r_squared
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = Cases("healthy")


def steps_of(program: Program) -> int:
    """Optimizer steps of the whole run."""
    return program.epochs * (len(program.train_data) // program.batch_size // program.accumulate)


@cases.healthy(*SUBJECTS)
def as_it_is(program: Program) -> None:
    """A subject as it stands."""


# Schedules.


@cases.healthy("vit", "resnet", "gpt")
def warm_up_from_zero_then_cosine_to_zero(program: Program) -> None:
    """The rate starts at exactly 0 and ends at exactly 0."""
    total = steps_of(program)
    warm = max(total // 10, 1)

    def factor(step: int) -> float:
        return step / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))

    program.scheduler = lambda o: lr_scheduler.LambdaLR(o, factor)


@cases.healthy("cnn")
def steps_down_per_epoch(program: Program) -> None:
    """The rate is divided by 10 after epoch 3."""
    program.scheduler, program.schedule_per = lambda o: lr_scheduler.MultiStepLR(o, [3]), "epoch"


@cases.healthy("mlp", "cnn")
def one_cycle(program: Program) -> None:
    """One cycle of the rate and the momentum."""
    total, top = steps_of(program), 2 * program.lr
    program.scheduler = lambda o: lr_scheduler.OneCycleLR(o, top, total_steps=total + 1)


@cases.healthy("mlp")
def warm_restarts(program: Program) -> None:
    """Cosine with restarts, so that the rate jumps up three times."""
    program.scheduler = lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 40)


# Optimizers.


@cases.healthy("mlp")
def nesterov(program: Program) -> None:
    """SGD with Nesterov's momentum."""
    program.optimizer, program.lr, program.options = torch.optim.SGD, 0.05, {"momentum": 0.9, "nesterov": True}


@cases.healthy("mlp")
def plain_sgd(program: Program) -> None:
    """SGD without momentum."""
    program.optimizer, program.lr, program.epochs = torch.optim.SGD, 0.15, 7


@cases.healthy("mlp", "gru")
def rmsprop(program: Program) -> None:
    """RMSprop."""
    program.optimizer, program.lr = torch.optim.RMSprop, program.lr / 2


@cases.healthy("mlp")
def adagrad(program: Program) -> None:
    """Adagrad, whose effective rate falls by itself."""
    program.optimizer, program.lr = torch.optim.Adagrad, 0.02


@cases.healthy("gpt", "vit")
def decay_groups(program: Program) -> None:
    """AdamW with weight decay on matrices only."""

    def groups() -> Iterable[Any]:
        parameters = list(program.model.parameters())
        return [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]

    program.trained_parameters = groups
    program.options = {"betas": (0.9, 0.95)}


@cases.healthy("resnet")
def slower_backbone(program: Program) -> None:
    """The head learns ten times as fast as the rest."""
    head = list(program.model.fc.parameters())
    rest = [p for n, p in program.model.named_parameters() if not n.startswith("fc")]
    program.trained_parameters = lambda: [{"params": rest, "lr": 0.02}, {"params": head, "lr": 0.2}]


@cases.healthy("mlp", "vit")
def clipped_at_1(program: Program) -> None:
    """The gradient is clipped at norm 1, as in most recipes of transformers."""
    program.clip_norm = 1.0


@cases.healthy("mlp", "resnet")
def accumulation(program: Program) -> None:
    """Four micro-batches of 8 per step, each loss divided by 4."""
    program.batch_size, program.accumulate = 8, 4
    if program.scheduler:
        program.scheduler = lambda o: lr_scheduler.CosineAnnealingLR(o, steps_of(program))


# Losses.


@cases.healthy("mlp", "resnet")
def label_smoothing(program: Program) -> None:
    """Label smoothing of 0.1."""
    program.loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)


@cases.healthy("mlp")
def sum_by_intent(program: Program) -> None:
    """The loss is summed over the batch and the rate is chosen for that."""
    program.loss_fn = nn.CrossEntropyLoss(reduction="sum")
    program.val_loss_fn = lambda out, y: 32 * F.cross_entropy(out, y)
    program.optimizer, program.lr, program.options = torch.optim.SGD, 0.1 / 32, {"momentum": 0.9}


@cases.healthy("mlp")
def log_softmax_and_nll(program: Program) -> None:
    """The network ends in log-softmax and the loss is NLL, as many tutorials have it."""
    program.model.append(nn.LogSoftmax(1))
    program.loss_fn = nn.NLLLoss()


@cases.healthy("binary")
def sigmoid_and_bce(program: Program) -> None:
    """The network ends in a sigmoid and the loss takes probabilities."""
    program.model.append(nn.Sigmoid())
    program.loss_fn = nn.BCELoss()
    program.score_fn = lambda out, y: float(((out > 0.5) == (y > 0.5)).float().mean())


@cases.healthy("mlp")
def class_weights(program: Program) -> None:
    """Half of the images of five classes are missing; the loss weighs the classes by their rarity."""
    data = program.train_data
    keep = (data.y >= 5) | (torch.arange(len(data)) % 2 == 0)
    data.x, data.y = data.x[keep], data.y[keep]
    program.epochs = 7
    program.loss_fn = nn.CrossEntropyLoss(weight=len(data) / (10 * data.y.bincount(minlength=10).float()))


@cases.healthy("regression")
def raw_target(program: Program) -> None:
    """The target is in its own unit (25 to 346); the last bias starts at its mean."""
    for part in (program.train_data, program.val_data):
        part.y = part.y * 77 + 152
    nn.init.constant_(program.model[-1].bias, float(program.train_data.y.mean()))
    program.lr, program.epochs = 3e-2, 12


@cases.healthy("regression")
def huber(program: Program) -> None:
    """Huber's loss."""
    program.loss_fn = nn.HuberLoss()


@cases.healthy("regression")
def flat_target(program: Program) -> None:
    """Target and output are (N,), as loops with `.squeeze(1)` have them."""
    for part in (program.train_data, program.val_data):
        part.y = part.y[:, 0]
    program.model.append(nn.Flatten(0))


@cases.healthy("unet")
def ignored_border(program: Program) -> None:
    """Two pixels at each border and some objects are 255, which the loss ignores."""
    masks = program.train_data.y
    masks[:, :2] = masks[:, -2:] = 255
    masks[::7][masks[::7] == 2] = 255
    program.loss_fn = nn.CrossEntropyLoss(ignore_index=255)


@cases.healthy("gpt")
def padded_lines(program: Program) -> None:
    """Lines are cut at random and padded with 0, which the loss ignores."""
    for part in (program.train_data, program.val_data):
        lengths = torch.randint(14, 25, (len(part), 1))
        past = torch.arange(24) >= lengths
        part.x, part.y = part.x.masked_fill(past, 0), part.y.masked_fill(past, 0)
    program.loss_fn = lambda out, y: F.cross_entropy(out.reshape(-1, 20), y.reshape(-1), ignore_index=0)
    program.score_fn = lambda out, y: float((out.argmax(-1) == y)[y > 0].float().mean())


@cases.healthy("mlp")
def multi_label(program: Program) -> None:
    """Three yes-or-no questions about each digit, one logit each."""
    for part in (program.train_data, program.val_data):
        part.y = torch.stack([part.y % 2, (part.y > 4).long(), (part.y % 3 == 0).long()], 1).float()
    program.model[-1] = nn.Linear(64, 3)
    program.loss_fn = nn.BCEWithLogitsLoss()
    program.score_fn = lambda out, y: float(((out > 0) == (y > 0.5)).float().mean())


# Networks.


@cases.healthy("cnn")
def group_norm(program: Program) -> None:
    """Group norm in place of batch norm."""
    program.model = networks.cnn(lambda c: nn.GroupNorm(8, c))


@cases.healthy("cnn")
def no_norm(program: Program) -> None:
    """Convolutions without any norm, He's initialisation, Adam."""
    program.model = networks.cnn(lambda c: nn.Identity())
    for m in program.model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
    program.optimizer, program.lr, program.options = torch.optim.Adam, 5e-3, {}


@cases.healthy("resnet")
def zero_init_residual(program: Program) -> None:
    """The last norm of each block starts at 0, so that each block starts as its shortcut."""
    for m in program.model.modules():
        if isinstance(m, networks.Residual):
            nn.init.zeros_(m.bn2.weight)
    program.epochs = 8
    program.scheduler = lambda o: lr_scheduler.CosineAnnealingLR(o, steps_of(program))


@cases.healthy("mlp")
def zero_head(program: Program) -> None:
    """The last layer starts at zero, so that the first loss is exactly ln 10."""
    nn.init.zeros_(program.model[-1].weight)
    nn.init.zeros_(program.model[-1].bias)


@cases.healthy("gpt")
def tied_embedding(program: Program) -> None:
    """The head is the embedding."""
    program.model = networks.Gpt(tied=True)


@cases.healthy("gpt")
def rms_norm(program: Program) -> None:
    """RMSNorm in place of LayerNorm."""
    for block in program.model.blocks:
        block.norm1, block.norm2 = nn.RMSNorm(32), nn.RMSNorm(32)
    program.model.norm = nn.RMSNorm(32)


@cases.healthy("mlp", "cnn")
def dropout_half(program: Program) -> None:
    """Dropout of 0.5 before the head."""
    head = program.model[-1]
    program.model[-1] = nn.Sequential(nn.Dropout(0.5), head)
    program.epochs += 2


@cases.healthy("mlp")
def tanh(program: Program) -> None:
    """Tanh throughout."""
    program.model = networks.mlp(act=nn.Tanh)


@cases.healthy("mlp")
def sigmoid_hidden(program: Program) -> None:
    """One hidden layer of sigmoids."""
    program.model, program.lr, program.epochs = networks.mlp(act=nn.Sigmoid, depth=1), 1e-2, 7


@cases.healthy("mlp")
def batch_norm_1d(program: Program) -> None:
    """Batch norm between linear layers."""
    program.model = nn.Sequential(
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64, bias=False),
        nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


@cases.healthy("mlp")
def logistic_regression(program: Program) -> None:
    """One linear layer: linear by intent."""
    program.model, program.lr = nn.Linear(64, 10), 5e-3


# Precision, data and length.


@cases.healthy("cnn", "vit", "gpt")
def bfloat16_autocast(program: Program) -> None:
    """Mixed precision in bfloat16."""
    program.precision = torch.bfloat16


@cases.healthy("mlp")
def float16_with_scaler(program: Program) -> None:
    """Mixed precision in float16 with a scaler, unscaled before clipping."""
    program.precision, program.clip_norm = torch.float16, 1.0
    program.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)


@cases.healthy("resnet")
def mixup(program: Program) -> None:
    """Images and one-hot targets are mixed in pairs."""

    def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        share, other = float(torch.distributions.Beta(0.4, 0.4).sample()), torch.randperm(len(x))
        target = F.one_hot(y, 3).float()
        return share * x + (1 - share) * x[other], share * target + (1 - share) * target[other]

    program.augment = mix


@cases.healthy("cnn")
def noise_and_shift(program: Program) -> None:
    """Some images are shifted by a pixel, and noise is added."""

    def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        moved = torch.where(torch.rand(len(x), 1, 1, 1) < 0.3, x.roll(1, 3), x)
        return moved + 0.1 * torch.randn_like(x), y

    program.augment = augment


@cases.healthy("mlp")
def unit_range(program: Program) -> None:
    """Pixels in 0..1 and not standardised."""
    program.prepare, program.epochs = lambda x: x / 16, 7


@cases.healthy("mlp", "gru")
def batches_of_8(program: Program) -> None:
    """Small batches at a smaller rate."""
    program.batch_size, program.lr, program.epochs = 8, program.lr / 3, 2


@cases.healthy("mlp")
def batches_of_240(program: Program) -> None:
    """Large batches."""
    program.batch_size, program.lr, program.epochs = 240, 5e-3, 20


@cases.healthy("gpt", "unet")
def first_steps_of_a_long_run(program: Program) -> None:
    """Two epochs at a small rate with warm-up: the loss has just begun to fall."""
    program.lr, program.epochs = program.lr / 5, 2
    program.scheduler = lambda o: lr_scheduler.LambdaLR(o, lambda step: min((step + 1) / 20, 1.0))


@cases.healthy("mlp", "regression")
def no_validation(program: Program) -> None:
    """A loop that never validates."""
    program.validate = lambda: None


@cases.healthy("mlp")
def noisy_score(program: Program) -> None:
    """A hard problem of three classes: labels depend on the digit and, in one of ten, on chance."""
    for part in (program.train_data, program.val_data):
        chance = torch.rand(len(part)) < 0.1
        part.y = torch.where(chance, torch.randint(0, 3, (len(part),)), part.y % 3)
    program.model, program.score_fn, program.prepare = networks.mlp(outputs=3), accuracy, normalise_digits
    program.options = {"weight_decay": 1e-3}


@cases.healthy("vae")
def autoencoder(program: Program) -> None:
    """A plain autoencoder with a sigmoid output and squared error; the target is the input."""
    program.model = nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10), nn.ReLU(), nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 64),
        nn.Sigmoid(),
    )  # fmt: skip
    program.loss_fn, program.score_fn = nn.MSELoss(), r_squared
