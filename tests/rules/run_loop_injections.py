"""Watched loops: order of calls, optimizer, graph, precision, several processes; each fault once, and healthy loops."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler
from torch.utils.data.distributed import DistributedSampler

from snellen.facts import Facts, table
from snellen.watching.facts import EVENTS
from snellen.watching.watch import watch
from tests.rules.run_injections import Gru, Make, Vit, batches, cnn, digits, mlp, seeded

ORDER = ("clear", "learn", "clip", "step", "schedule")


class Loop:
    """A loop whose calls can be left out, doubled and put in another order."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None, **more: Any) -> None:
        self.model = model
        self.optimizers: list[torch.optim.Optimizer] = [optimizer or torch.optim.Adam(model.parameters(), lr=3e-3)]
        self.loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
        self.order, self.steps, self.size, self.epochs, self.accumulate = ORDER, 60, 32, 3, 1
        self.limit: float | None = None
        self.scheduler: Any = None
        self.per_epoch: Any = None
        self.scaler: Any = None
        self.set_to_none = True
        self.weight: Callable[[int], float] = lambda number: 1.0
        self.evaluated: nn.Module | None = None
        self.after: Callable[[int], None] | None = None
        self.prepare: Callable[[Tensor], Tensor] = lambda x: x
        self.source: Any = None
        vars(self).update(more)

    def run(self) -> list[Facts]:
        source = self.source or some(self.steps * self.accumulate, self.size)
        with watch(self.model, self.optimizers, loss_fn=self.loss_fn, trials=False) as seen:
            for number in range(self.steps):
                self.number = number
                self.model.train()
                self.micro = [next(source) for _ in range(self.accumulate)]
                for call in self.order:
                    getattr(self, call)()
                seen.step(loss=self.loss, inputs=self.x, targets=self.y, outputs=self.out)
                if self.after:
                    self.after(number)
                if (number + 1) % (self.steps // self.epochs) == 0:
                    if self.per_epoch:
                        self.per_epoch()
                    seen.epoch(val=self.validate())
        return [seen.facts()]

    def clear(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=self.set_to_none)

    def learn(self) -> None:
        for x, y in self.micro:
            self.x, self.y = self.prepare(x), y
            self.out = self.model(self.x)
            self.loss = self.loss_fn(self.out, y)
            loss = self.weight(self.number) * self.loss
            (self.scaler.scale(loss) if self.scaler else loss).backward()

    def unscale(self) -> None:
        self.scaler.unscale_(self.optimizers[0])

    def clip(self) -> None:
        if self.limit:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.limit)

    def step(self) -> None:
        for optimizer in self.optimizers:
            self.scaler.step(optimizer) if self.scaler else optimizer.step()
        if self.scaler:
            self.scaler.update()

    def bypass(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def schedule(self) -> None:
        if self.scheduler:
            self.scheduler.step()

    def validate(self) -> dict[str, float]:
        x, y = digits()
        model = (self.evaluated or self.model).eval()
        with torch.no_grad():
            out = model(self.prepare(x[1400:]))
        return {"loss": F.cross_entropy(out.float(), y[1400:]).item()}


def some(steps: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the first 1400 digits; the others are for validation."""
    x, y = digits()
    pick = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(1400, (size,), generator=pick)
        yield x[rows], y[rows]


def loop(model: nn.Module, optimizer: torch.optim.Optimizer | None = None, **more: Any) -> list[Facts]:
    return Loop(model, optimizer, **more).run()


def sgd(model: nn.Module, lr: float = 0.1, **more: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, **more)


def adam(model: nn.Module, kind: type[torch.optim.Optimizer] = torch.optim.Adam, **more: Any) -> torch.optim.Optimizer:
    return kind(model.parameters(), **({"lr": 3e-3} | more))


def scheduled(make: Callable[[torch.optim.Optimizer], Any], **more: Any) -> list[Facts]:
    """A scheduler, stepped at every step unless `more` says otherwise."""
    model = mlp()
    optimizer = adam(model)
    return loop(model, optimizer, scheduler=make(optimizer), **more)


def told(kind: str, value: float, model: nn.Module, **more: Any) -> list[Facts]:
    """A healthy loop to which an event is added that takes two processes to come by."""
    (facts,) = loop(model, **more)
    row = {"step": 0, "kind": kind, "layer": None, "message": kind, "value": value}
    return [replace(facts, events=pl.concat([facts.events, table(EVENTS, [row])]))]  # type: ignore[type-var, attr-defined]


class Weighted(nn.Module):
    """Two branches, one of which counts for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.other = mlp(), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + 0.0 * self.other(x)


class Listed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, 64), nn.Linear(64, 10)
        self.hidden = [nn.Linear(64, 64)]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden[0](F.relu(self.stem(x)))))


class LowRank(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(64, 4, bias=False), nn.Linear(4, 64, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class Experts(nn.Module):
    """A router sends each sample to one of 24 experts; some are never chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(64, 24)
        self.experts = nn.ModuleList(nn.Linear(64, 64) for _ in range(24))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        score, chosen = self.router(x).softmax(1).max(1)
        out = torch.zeros_like(x)
        for i in chosen.unique().tolist():
            rows = (chosen == i).nonzero()[:, 0]
            out = out.index_add(0, rows, score[rows, None] * F.relu(self.experts[i](x[rows])))
        return self.head(x + out)


def with_adapters(freeze: bool) -> nn.Sequential:
    model = mlp()
    model[2] = LowRank(model[2])
    for layer in (model[0], model[2].base):
        nn.init.orthogonal_(layer.weight)  # as trained weights, not as torch makes them
    model[0].requires_grad_(not freeze)
    model[2].base.requires_grad_(not freeze)
    return model


def stale() -> list[Facts]:
    model = mlp()
    optimizer = adam(model)
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    return loop(model, optimizer)


def only_vectors() -> list[Facts]:
    model = cnn(nn.BatchNorm2d)
    for p in model.parameters():
        p.requires_grad_(p.dim() < 2)
    return loop(model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3))


def misspelt() -> list[Facts]:
    model = mlp()
    for p in model[0].parameters():
        p.require_grad = False  # type: ignore[attr-defined]
    return loop(model)


def scheduler_first() -> list[Facts]:
    model = mlp()
    optimizer = adam(model)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of this very fault.
        return loop(model, optimizer, scheduler=scheduler, order=("clear", "learn", "schedule", "step"))


def never_called() -> list[Facts]:
    model = mlp()
    optimizer = adam(model)
    kept = lr_scheduler.StepLR(optimizer, 1, 0.5)
    return loop(model, optimizer, scheduler=kept, order=ORDER[:-1])


def scaled(*order: str, limit: float = 1.0) -> list[Facts]:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    return loop(mlp(), scaler=scaler, limit=limit, order=order)


def used_up() -> list[Facts]:
    """The generator of batches is made once, before the epochs."""
    once = Loop(mlp(), steps=40, number=0)
    source = some(40, 32)
    with watch(once.model, once.optimizers, loss_fn=once.loss_fn, trials=False) as seen:
        for _ in range(5):
            for batch in source:
                once.micro = [batch]
                once.clear()
                once.learn()
                once.step()
                seen.step(loss=once.loss, inputs=once.x, targets=once.y, outputs=once.out)
            seen.epoch(val=once.validate())
    return [seen.facts()]


def shared() -> list[Facts]:
    model = mlp()
    watched = Loop(model)
    watched.optimizers = [adam(model), sgd(model[-1], 0.01)]
    return watched.run()


def lost() -> list[Facts]:
    model = mlp()
    optimizer = adam(model)

    def after(number: int) -> None:
        if number == 30:
            optimizer.load_state_dict(adam(model).state_dict())

    return loop(model, optimizer, after=after)


def spike() -> list[Facts]:
    model = mlp()
    watched = Loop(model, adam(model, lr=2e-2), steps=150)
    inner = watched.loss_fn
    watched.loss_fn = lambda a, b: inner(a, b) * (1e-3 if 40 <= watched.number < 100 else 1.0)
    return watched.run()


def leaf() -> list[Facts]:
    return loop(mlp(), loss_fn=lambda a, b: torch.tensor(F.cross_entropy(a, b).item(), requires_grad=True))


def growing() -> list[Facts]:
    kept: list[Tensor] = []
    watched = Loop(mlp())
    watched.after = lambda number: kept.append(watched.loss)
    return watched.run()


def copied() -> list[Facts]:
    model = mlp()
    return loop(model, evaluated=copy.deepcopy(model))


def unshuffled_ranks() -> list[Facts]:
    x, y = digits()
    sampler = DistributedSampler(range(640), num_replicas=2, rank=0, shuffle=True)  # type: ignore[arg-type]
    rows = torch.tensor(list(sampler)).split(32)
    facts = loop(mlp(), source=((x[r], y[r]) for _ in range(10) for r in rows))
    assert sampler.epoch == 0
    return facts


def frozen_norm() -> list[Facts]:
    model = cnn(nn.BatchNorm2d)
    nn.init.normal_(model[1].weight, std=0.5)  # as trained weights, not as torch makes them
    for layer in model[:3]:
        layer.requires_grad_(False)
    return loop(model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3))


def half(model: nn.Module, lr: float, kind: type[torch.optim.Optimizer]) -> list[Facts]:
    model = model.bfloat16()
    return loop(model, kind(model.parameters(), lr=lr), prepare=lambda x: x.bfloat16())


def averaged() -> list[Facts]:
    """An exponential average of the weights is evaluated."""
    model = mlp()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    return loop(model, evaluated=average, after=lambda number: average.update_parameters(model))


def groups() -> list[Facts]:
    model = Vit()
    parts = [[p for p in model.parameters() if (p.dim() < 2) == flat] for flat in (False, True)]
    decays = [{"params": p, "weight_decay": d} for p, d in zip(parts, (0.1, 0.0), strict=True)]
    return loop(model, torch.optim.AdamW(decays, lr=1e-3), limit=1.0)


def lbfgs() -> list[Facts]:
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    x, y = digits()
    with watch(model, optimizer, trials=False) as seen:
        for _ in range(12):

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[:256]), y[:256])
                loss.backward()
                return loss

            value = optimizer.step(closure)
            seen.step(loss=value)
    return [seen.facts()]


def gan() -> list[Facts]:
    """Two networks, each with its optimizer; the judge sees real and made samples in backward passes of their own."""
    maker = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))
    judge = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    first, second = (adam(m, lr=1e-3, betas=(0.5, 0.999)) for m in (judge, maker))
    ones = torch.ones(32, 1)
    with watch({"judge": judge, "maker": maker}, [first, second], trials=False) as seen:
        for x, _ in batches(80):
            made = maker(torch.randn(32, 8))
            first.zero_grad()
            real = F.binary_cross_entropy_with_logits(judge(x), ones)
            real.backward()
            fake = F.binary_cross_entropy_with_logits(judge(made.detach()), 0 * ones)
            fake.backward()
            first.step()
            second.zero_grad()
            other = F.binary_cross_entropy_with_logits(judge(made), ones)
            other.backward()
            second.step()
            seen.step(loss=(real + fake).detach())
    return [seen.facts()]


def switched() -> list[Facts]:
    """Adam first, then SGD on the same parameters."""
    model = mlp()
    watched = Loop(model)
    both = [adam(model), sgd(model, 3e-3, momentum=0.9)]
    watched.optimizers = both

    def step() -> None:
        both[watched.number >= 30].step()

    watched.step = step  # type: ignore[method-assign]
    return watched.run()


def summed(**more: Any) -> list[Facts]:
    """Four batches of 8 a step."""
    model = mlp()
    return loop(model, sgd(model, 0.05), accumulate=4, size=8, **more)


def one_cycle() -> list[Facts]:
    model = mlp()
    optimizer = adam(model)
    return loop(model, optimizer, scheduler=lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=61))


def per_epoch() -> list[Facts]:
    model = mlp()
    optimizer = adam(model)
    scheduler = lr_scheduler.StepLR(optimizer, 1, 0.5)
    return loop(model, optimizer, per_epoch=scheduler.step, scheduler=None)


def tied() -> list[Facts]:
    first = nn.Linear(64, 64)
    last = nn.Linear(64, 64)
    last.weight = first.weight
    return loop(nn.Sequential(first, nn.ReLU(), last, nn.ReLU(), nn.Linear(64, 10)))


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x).float()


def warm(number: int) -> float:
    return min(number / 10, 0.5 * (1 + math.cos(math.pi * number / 60)))


CLEAN: dict[str, Make] = {
    "plain": seeded(lambda: loop(mlp())),
    "zero_grad to zeros": seeded(lambda: loop(mlp(), set_to_none=False)),
    "warm-up from 0, cosine to 0": seeded(lambda: scheduled(lambda o: lr_scheduler.LambdaLR(o, warm))),
    "one cycle per batch": seeded(one_cycle),
    "schedule per epoch": seeded(per_epoch),
    "GAN, two optimizers, two backward passes": seeded(gan),
    "Adam, then SGD": seeded(switched),
    "accumulation, divided": seeded(lambda: summed(weight=lambda number: 0.25)),
    "LBFGS": seeded(lbfgs),
    "clipped at 1": seeded(lambda: loop(mlp(), limit=1.0)),
    "average of the weights": seeded(averaged),
    "decay groups": seeded(groups),
    "experts that are never chosen": seeded(lambda: loop(Experts())),
    "adapters on a frozen base": seeded(lambda: loop(with_adapters(True))),
    "tied weights": seeded(tied),
    "autocast": seeded(lambda: loop(Autocast())),
    "scaler, unscaled before clipping": seeded(lambda: scaled("clear", "learn", "unscale", "clip", "step")),
    "scaler without clipping": seeded(lambda: scaled("clear", "learn", "step")),
    "bfloat16 weights, usual rate": seeded(lambda: half(mlp(), 3e-3, torch.optim.Adam)),
    "GRU": seeded(lambda: loop(Gru())),
}

SICK: dict[str, Make] = {
    "optimizer-holds-stale-tensors": seeded(stale),
    "only-norms-train": seeded(only_vectors),
    "freeze-has-no-effect": seeded(misspelt),
    "lr-decays-too-fast": seeded(lambda: scheduled(lambda o: lr_scheduler.StepLR(o, 5, 0.1))),
    "scheduler-before-optimizer": seeded(scheduler_first),
    "scheduler-never-called": seeded(never_called),
    "decay-on-norms": seeded(lambda: loop(m := Vit(), adam(m, torch.optim.AdamW, weight_decay=1.0), steps=39)),
    "coupled-decay": seeded(lambda: loop(m := mlp(), adam(m, weight_decay=0.1))),
    "adam-eps-dominates": seeded(lambda: loop(m := mlp(), adam(m, eps=0.1))),
    "momentum-too-high": seeded(lambda: loop(m := mlp(), sgd(m, 1e-4, momentum=0.999))),
    "clip-before-unscale": seeded(lambda: scaled("clear", "learn", "clip", "step")),
    "scaler-bypassed": seeded(lambda: scaled("clear", "learn", "bypass")),
    "epochs-without-steps": seeded(used_up),
    "clip-after-step": seeded(lambda: loop(mlp(), limit=0.1, order=("clear", "learn", "step", "clip"))),
    "accumulation-not-averaged": seeded(summed),
    "parameter-in-two-optimizers": seeded(shared),
    "optimizer-state-lost": seeded(lost),
    "loss-spike": seeded(spike),
    "loss-without-graph": seeded(leaf),
    "gradient-always-zero": seeded(lambda: loop(Weighted(), steps=90)),
    "parameters-never-used": seeded(lambda: loop(Unused())),
    "unregistered-layers": seeded(lambda: loop(Listed())),
    "graph-grows": seeded(growing),
    "validates-another-model": seeded(copied),
    "wrapper-bypassed": seeded(lambda: told("wrapper-bypassed", 60.0, mlp())),
    "same-order-every-epoch": seeded(unshuffled_ranks),
    "batchnorm-not-synced": seeded(
        lambda: told("distributed", 2.0, m := cnn(nn.BatchNorm2d), optimizer=sgd(m, 0.01), size=4)
    ),
    "update-below-resolution": seeded(lambda: half(mlp(), 1e-5, torch.optim.SGD)),
    "adapters-miswired": seeded(lambda: loop(with_adapters(False))),
    "frozen-batchnorm-updates": seeded(frozen_norm),
}


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.aux = mlp(), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


ALSO: dict[str, set[str]] = {}

__all__ = ["ALSO", "CLEAN", "SICK"]
