"""Every schedule: its closed form by hand, and torch's own scheduler where there is one."""

import math
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim import lr_scheduler as theirs

from snellen.training.recipe import Recipe, RecipeError
from snellen.training.schedules import Plateau, Schedule, schedule_of

STEPS, EPOCH = 120, 10


def ours(kind: str, **settings: Any) -> Schedule:
    return Schedule(kind=kind, peak=0.5, total_steps=STEPS, epoch_steps=EPOCH, **settings)


def of_torch(make: Any, steps: int = STEPS, per_step: bool = True) -> list[float]:
    """The rates that a scheduler of torch sets for each step."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = make(optimizer)
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if per_step or (step + 1) % EPOCH == 0:
            scheduler.step()
    return rates


def rates(schedule: Schedule, steps: int = STEPS) -> list[float]:
    return [schedule.at(step) for step in range(steps)]


AGAINST_TORCH: dict[str, tuple[Schedule, Any, bool]] = {
    "constant": (ours("constant"), lambda o: theirs.ConstantLR(o, factor=1.0), True),
    "cosine": (ours("cosine", final=0.02), lambda o: theirs.CosineAnnealingLR(o, STEPS, eta_min=0.01), True),
    "step": (ours("step", every=3), lambda o: theirs.StepLR(o, 3, gamma=0.1), False),
    "milestones": (ours("step", milestones=(2, 7), gamma=0.3), lambda o: theirs.MultiStepLR(o, [2, 7], 0.3), False),
    "halve": (ours("halve", every=2), lambda o: theirs.StepLR(o, 2, gamma=0.5), False),
    "exponential": (ours("exponential"), lambda o: theirs.ExponentialLR(o, 0.95 ** (1 / EPOCH)), True),
    "exponential by epochs": (
        ours("exponential", gamma=0.9, staircase=True), lambda o: theirs.ExponentialLR(o, 0.9), False,
    ),
    "1/t": (ours("inverse", gamma=0.2), lambda o: theirs.LambdaLR(o, lambda s: 1 / (1 + 0.2 * s / EPOCH)), True),
    "restarts": (
        ours("restarts", cycles=4, final=0.0), lambda o: theirs.CosineAnnealingWarmRestarts(o, STEPS // 4), True,
    ),
    # 120 = 8 + 16 + 32 + 64.
    "longer restarts": (
        ours("restarts", cycles=4, cycle_factor=2, final=0.1),
        lambda o: theirs.CosineAnnealingWarmRestarts(o, 8, T_mult=2, eta_min=0.05), True,
    ),
    "one-cycle": (
        ours("one-cycle", rise=0.25, warmup_steps=7),
        lambda o: theirs.OneCycleLR(o, 0.5, total_steps=STEPS, pct_start=0.25, cycle_momentum=False), True,
    ),
    "warm-up": (
        ours("constant", warmup_steps=20, warmup_start=0.1),
        lambda o: theirs.LinearLR(o, start_factor=0.1, total_iters=20), True,
    ),
    "warm-up by stairs": (
        ours("constant", warmup_steps=20), lambda o: theirs.LinearLR(o, start_factor=1 / 20, total_iters=19), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(AGAINST_TORCH))
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_the_rates_are_those_of_torch(name: str) -> None:
    schedule, make, per_step = AGAINST_TORCH[name]
    # One step short of the end, where OneCycleLR refuses to go on.
    steps = STEPS - 1
    assert rates(schedule, steps) == pytest.approx(of_torch(make, steps, per_step), rel=1e-9, abs=1e-15)


def test_cosine_with_warmup_and_hold() -> None:
    """Base 0.01, 15,000 steps, from 0.0001 in 2,000 steps, 2,000 held, down to 0.00001."""
    schedule = Schedule("cosine", 0.01, 15_000, warmup_steps=2000, warmup_start=0.01, hold_steps=2000, final=0.001)
    slope = (0.01 - 0.0001) / 2000
    for step in (0, 500, 1999):
        assert schedule.at(step) == pytest.approx(0.0001 + slope * step)
    assert [schedule.at(s) for s in (2000, 3000, 3999, 4000)] == pytest.approx([0.01] * 4)
    assert schedule.at(9500) == pytest.approx((0.01 + 0.00001) / 2)
    assert schedule.at(15_000) == pytest.approx(0.00001)
    assert all(a >= b for a, b in zip(rates(schedule, 15_000)[4000:], rates(schedule, 15_000)[4001:], strict=False))


def test_piecewise_is_a_table() -> None:
    """Boundaries 2,000 and 4,000, rates 0.01, 0.001, 0.0001."""
    schedule = Schedule("piecewise", 1.0, 6000, epoch_steps=1000, milestones=(2, 4), values=(0.01, 0.001, 0.0001))
    assert [schedule.at(s) for s in (0, 1999, 2000, 3999, 4000, 5999)] == [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]


def test_fractional_decay_by_epochs() -> None:
    schedule = ours("inverse", staircase=True)
    assert schedule.at(9) == 0.5
    assert schedule.at(35) == pytest.approx(0.5 / 1.3)


def test_cycles_end_where_the_rate_is_lowest() -> None:
    schedule = ours("restarts", cycles=3, cycle_factor=2.0, warmup_steps=8, hold_steps=7)
    ends = schedule.cycle_ends()
    assert ends == [30, 60, 120]
    course = rates(schedule)
    assert all(course[end] == pytest.approx(0.5) for end in ends[:-1])
    assert all(course[end - 1] == min(course[begin:end]) for begin, end in zip([15, 30, 60], ends, strict=True))
    assert ours("cosine").cycle_ends() == []


def test_a_plateau_falls_as_torchs_does_and_remembers() -> None:
    merits = [0.1, 0.3, 0.3, 0.2, 0.3, 0.29, 0.31, math.nan, 0.1, 0.2, 0.31, 0.3, 0.3, 0.0, 0.9]
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = theirs.ReduceLROnPlateau(optimizer, mode="max", factor=0.1, patience=2, threshold=0.0)
    mine = Plateau(gamma=0.1, patience=2)
    for merit in merits:
        scheduler.step(merit)
        mine.tell(merit)
        assert mine.factor == pytest.approx(optimizer.param_groups[0]["lr"])
        again = Plateau(gamma=0.1, patience=2)
        again.load_state_dict(mine.state_dict())
        mine = again
    assert mine.factor == pytest.approx(0.001)


def test_a_recipe_names_its_schedule() -> None:
    recipe = Recipe(task="classification", model="any", image_size=32, epochs=5, lr=0.2, schedule="halve", lr_every=2)
    schedule = schedule_of(recipe.vary(warmup_steps=0), 10)
    assert [schedule.at(s) for s in (0, 19, 20, 49)] == [0.2, 0.2, 0.1, 0.05]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"schedule": "piecewise", "lr_milestones": [2]}, "lr_values: piecewise needs one rate more"),
        ({"snapshots": 2}, "snapshots: .*'cosine', not 'restarts'"),
        ({"swa_epochs": 2, "ema_decay": 0.9}, "swa_epochs: two averages"),
        ({"folds": 3, "fold": 3}, "fold 3 of 3"),
        ({"schedul": "cosine"}, "did you mean 'schedule'"),
    ],
)
def test_fields_that_do_not_agree_are_told_of(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        Recipe.build({"task": "classification", "model": "any", "image_size": 32, **fields})
