"""Calls of a training loop that are missing, doubled or in the wrong place."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from benchmarks.chart.subjects import SUBJECTS
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = Cases("loop")


def steps_of(program: Program) -> int:
    """Optimizer steps of the whole run."""
    return program.epochs * (len(program.train_data) // program.batch_size // program.accumulate)


def with_scaler(program: Program) -> None:
    """Mixed precision with a gradient scaler, as on a GPU; on the CPU the type is bfloat16."""
    program.precision = torch.bfloat16
    program.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)


@cases.mutant(1, ["mlp", "cnn", "gru", "vit"], accepts=["gradients-not-cleared"])
def no_zero_grad(program: Program) -> None:
    """zero_grad is never called."""
    program.zero_grad = program.nothing


@cases.mutant(1, ["resnet", "gpt"], accepts=["gradients-not-cleared"])
def zero_grad_once_per_epoch(program: Program) -> None:
    """zero_grad stands before the inner loop instead of inside it."""
    start = program.train_mode

    def train_mode() -> None:
        start()
        Program.zero_grad(program)

    program.train_mode, program.zero_grad = train_mode, program.nothing


@cases.mutant(2, ["mlp", "resnet", "gru"], accepts=["gradients-erased"])
def zero_grad_after_backward(program: Program) -> None:
    """zero_grad stands between backward and step."""
    program.order = ("learn", "unscale", "clip", "zero_grad", "step", "schedule")


@cases.mutant(3, ["mlp", "cnn", "lstm"], accepts=["no-backward"])
def no_backward(program: Program) -> None:
    """backward is never called."""
    program.backward = program.nothing


@cases.mutant(4, ["mlp", "unet", "gpt"], accepts=["optimizer-never-steps"])
def no_step(program: Program) -> None:
    """The optimizer never steps."""
    program.step = program.nothing


@cases.mutant(11, ["mlp", "vit"], accepts=["lr-zero"])
def schedule_at_zero(program: Program) -> None:
    """A warm-up in integer division: the factor is 0 for ever."""
    warm = 10 * steps_of(program)
    program.scheduler = lambda o: lr_scheduler.LambdaLR(o, lambda step: step // warm)


@cases.mutant(12, ["mlp", "resnet", "gru"], accepts=["lr-decays-too-fast"])
def step_schedule_per_batch(program: Program) -> None:
    """A schedule that divides the rate by 10 every 10 epochs is stepped after every batch."""
    program.scheduler, program.schedule_per = lambda o: lr_scheduler.StepLR(o, 10, 0.1), "step"


@cases.mutant(12, ["cnn", "gpt"], accepts=["lr-decays-too-fast"])
def exponential_schedule_per_batch(program: Program) -> None:
    """A rate times 0.8 for each epoch is multiplied for each batch."""
    program.scheduler, program.schedule_per = lambda o: lr_scheduler.ExponentialLR(o, 0.8), "step"


@cases.mutant(12, ["vit", "regression"], accepts=["lr-decays-too-fast"])
def cosine_of_epochs_per_batch(program: Program) -> None:
    """A cosine whose length is the number of epochs is stepped after every batch."""
    program.scheduler = lambda o: lr_scheduler.CosineAnnealingLR(o, program.epochs)
    program.schedule_per = "step"


@cases.mutant(13, ["mlp", "resnet"], accepts=["scheduler-before-optimizer"])
def scheduler_before_step(program: Program) -> None:
    """The scheduler is stepped before the optimizer."""
    program.scheduler = lambda o: lr_scheduler.CosineAnnealingLR(o, steps_of(program))
    program.schedule_per = "step"
    program.order = ("zero_grad", "learn", "unscale", "clip", "schedule", "step")


@cases.mutant(13, ["cnn", "gpt"], accepts=["scheduler-before-optimizer"])
def scheduler_at_start_of_epoch(program: Program) -> None:
    """The scheduler is stepped at the start of each epoch, as before PyTorch 1.1."""
    program.scheduler, program.schedule_per = lambda o: lr_scheduler.ExponentialLR(o, 0.7), "never"
    start = program.train_mode

    def train_mode() -> None:
        start()
        for scheduler in program.schedulers:
            scheduler.step()

    program.train_mode = train_mode


@cases.mutant(13, ["mlp", "vit"], accepts=["scheduler-never-called"])
def scheduler_never_stepped(program: Program) -> None:
    """A scheduler is made and forgotten."""
    program.scheduler, program.schedule_per = lambda o: lr_scheduler.StepLR(o, 2, 0.1), "never"


@cases.mutant(20, ["mlp", "gpt", "gru"], accepts=["clip-before-unscale"])
def clip_before_unscale(program: Program) -> None:
    """The scaled gradient is clipped, and unscaled afterwards."""
    with_scaler(program)
    program.clip_norm = 1.0
    program.unscale = program.nothing


@cases.mutant(21, ["mlp", "gru"], accepts=["clip-after-step"])
def clip_after_step(program: Program) -> None:
    """The gradient is clipped when the optimizer has used it."""
    program.clip_norm = 0.1
    program.order = ("zero_grad", "learn", "step", "clip", "schedule")


@cases.mutant(22, ["mlp", "gru"], accepts=["scaler-skips", "loss-not-finite"])
def scaler_always_skips(program: Program) -> None:
    """The scale is far too large and falls by a hair: every step overflows float16 and is skipped."""
    program.precision = torch.float16
    program.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, backoff_factor=0.999)


@cases.mutant(23, ["cnn", "resnet"], accepts=["accumulation-not-averaged"])
def accumulation_without_division(program: Program) -> None:
    """Eight micro-batches are added up and the loss of each counts in full."""
    program.batch_size, program.accumulate = 8, 8
    program.backward = lambda: program.loss.backward()


@cases.mutant(24, ["mlp", "unet", "gpt"], accepts=["parameter-in-two-optimizers"])
def head_in_two_optimizers(program: Program) -> None:
    """The optimizer made for the head gets all parameters, which another one holds already."""

    def two() -> list[torch.optim.Optimizer]:
        every = list(program.model.parameters())
        return [torch.optim.Adam(every, lr=program.lr), torch.optim.SGD(every, lr=program.lr)]

    program.make_optimizers = two


@cases.mutant(25, ["mlp", "vit", "resnet"], accepts=["optimizer-state-lost"])
def resumed_without_optimizer(program: Program) -> None:
    """In the middle training is resumed from a checkpoint that holds the weights and a fresh optimizer."""
    start = program.train_mode

    def train_mode() -> None:
        start()
        if program.epoch_number == program.epochs // 2:
            for optimizer in program.optimizers:
                fresh = program.optimizer(program.trained_parameters(), lr=program.lr, **program.options)
                optimizer.load_state_dict(fresh.state_dict())

    program.train_mode = train_mode


@cases.mutant(67, ["cnn", "vit", "resnet"], accepts=["model-in-eval-mode"])
def train_mode_forgotten(program: Program) -> None:
    """train() is called once before the first epoch; validation leaves eval() behind."""
    program.train_mode = lambda: program.model.train() if program.epoch_number == 0 else program.model


@cases.mutant(99, ["mlp", "resnet", "gru"], accepts=["validates-another-model"])
def validates_a_copy(program: Program) -> None:
    """Validation runs on a copy made before training."""
    shadow = copy.deepcopy(program.model).eval()
    program.predict = lambda x: shadow(x)


@cases.restated("mlp", number=1, accepts=["gradients-not-cleared"])
def accumulates_for_ever(harness: Any, seed: int) -> float:
    """Gradients are to be accumulated over four batches; the modulo is wrong and they are never cleared."""
    program = SUBJECTS["mlp"](seed)
    model, loss_fn = program.model, nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=loss_fn)
    program.epoch_number = 0
    step = 0
    for epoch in range(4):
        program.epoch_number = epoch
        for i, (x, y) in enumerate(program.loader()):
            out = model(x)
            loss = loss_fn(out, y)
            loss.backward()
            optimizer.step()
            if (i + 1) % 400 == 0:
                optimizer.zero_grad()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
            step += 1
        harness.epoch(train={"loss": loss.item()})
    return float(program.final_score() or 0.0)


class Frozen(nn.Module):
    """A backbone whose author meant it to be frozen, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 64) -> (N, 10)."""
        return self.head(self.backbone(x))


@cases.restated("mlp", number=8, accepts=["freeze-has-no-effect"], place="backbone")
def require_grad_misspelt(harness: Any, seed: int) -> float:
    """The backbone is frozen with `param.require_grad = False`, which sets an attribute that nobody reads."""
    program = SUBJECTS["mlp"](seed)
    program.model = model = Frozen()
    for parameter in model.backbone.parameters():
        parameter.require_grad = False
    return plain_loop(harness, program, torch.optim.Adam(model.parameters(), lr=3e-3))


@cases.restated("regression", number=8, accepts=["freeze-has-no-effect"], place="0")
def module_attribute_set(harness: Any, seed: int) -> float:
    """The first layer is frozen with `layer.requires_grad = False` on the module."""
    program = SUBJECTS["regression"](seed)
    program.model[0].requires_grad = False
    return plain_loop(harness, program, torch.optim.Adam(program.model.parameters(), lr=3e-3))


def plain_loop(harness: Any, program: Program, optimizer: torch.optim.Optimizer) -> float:
    """The loop of a tutorial."""
    model = program.model
    harness.begin(model, optimizer, loss_fn=program.loss_fn)
    for epoch in range(4):
        program.epoch_number = epoch
        model.train()
        for x, y in program.loader():
            optimizer.zero_grad()
            out = model(x)
            loss = program.loss_fn(out, y)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": loss.item()}, val=program.validate())
    return float(program.final_score() or 0.0)


@cases.restated("mlp", number=4, accepts=["optimizer-never-steps", "parameters-missing-from-optimizer"])
def step_of_another_optimizer(harness: Any, seed: int) -> float:
    """Two optimizers are made from habit; the one that is stepped holds an old model."""
    program = SUBJECTS["mlp"](seed)
    old = copy.deepcopy(program.model)
    stepped = torch.optim.Adam(old.parameters(), lr=1e-3)
    optimizer = torch.optim.Adam(program.model.parameters(), lr=1e-3)
    harness.begin(program.model, optimizer, loss_fn=F.cross_entropy)
    for epoch in range(3):
        program.epoch_number = epoch
        for x, y in program.loader():
            optimizer.zero_grad()
            out = program.model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            stepped.step()
            harness.step(loss=loss.item(), inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": loss.item()}, val=program.validate())
    return float(program.final_score() or 0.0)
