"""What run rules say of 25 faults and of healthy runs: `PYTHONPATH=. python benchmarks/diagnosis_probe.py`.

Only RunFacts are judged: what the exam of the data or of the network would add is not counted. A fault is right when
the only root finding is the one expected; "-" is expected where no run rule claims to know the fault.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tests.rules import run_injections as runs
from tests.rules.run_injections import Cut, forgot_train, mlp, sgd, stale_head, train, wide_init
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from snellen.facts import Facts
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, Settings

SEEDS = (11, 12, 13)
LONG = {"steps": 150, "epochs": 5}


def zero_init() -> list[Facts]:
    """Every weight and bias 0."""
    model = mlp()
    for p in model.parameters():
        nn.init.zeros_(p)
    return train(model, sgd(model, 0.1), **LONG)


def frozen_by_mistake() -> list[Facts]:
    """Everything but the last bias is frozen."""
    model = mlp()
    for p in list(model.parameters())[:-1]:
        p.requires_grad_(False)
    return train(model, **LONG)


def sorted_data() -> list[Facts]:
    """Each batch holds one class."""
    x, y = runs.digits()
    turn = iter(range(10_000))

    def spoil(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        rows = (y == next(turn) * 10 // 150 % 10).nonzero()[:32, 0]
        return x[rows], y[rows]

    return train(mlp(), spoil=spoil, **LONG)


def broadcast() -> list[Facts]:
    """(N, 1) predictions against (N,) targets."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return (out - y.float()).square().mean()

    return train(model, loss=loss, kind="mse", expected=None, **LONG)


def slow(lr: float, **more: object) -> list[Facts]:
    """An MLP with plain SGD."""
    model = mlp()
    return train(model, sgd(model, lr, weight_decay=more.pop("decay", 0.0)), **LONG, **more)


def dead() -> list[Facts]:
    """Biases of -20."""
    model = mlp()
    nn.init.constant_(model[2].bias, -20.0)
    return train(model, **LONG)


def shuffled() -> list[Facts]:
    """Labels drawn at random."""
    return train(mlp(), spoil=lambda x, y: (x, torch.randint(10, y.shape)), **LONG)


FAULTS: dict[str, tuple[str, Callable[[], list[Facts]]]] = {
    "missing zero_grad": ("gradients-not-cleared", lambda: slow(0.1, clear=False)),
    "learning rate too high": ("lr-too-high", lambda: slow(10.0)),
    "learning rate too low": ("lr-too-low", lambda: slow(1e-7)),
    "learning rate 0": ("lr-zero", lambda: slow(0.0)),
    "softmax before cross-entropy": (
        "softmax-before-cross-entropy", lambda: train(nn.Sequential(mlp(), nn.Softmax(1)), **LONG)),
    "softmax over the batch": ("softmax-over-batch", lambda: train(nn.Sequential(mlp(), nn.Softmax(0)), **LONG)),
    "ReLU on logits": ("relu-on-logits", lambda: train(nn.Sequential(mlp(), nn.ReLU()), **LONG)),
    "sign flip": ("negative-loss", lambda: slow(0.01, sign=-1.0)),
    "weight decay 1.0": ("weight-decay-dominates", lambda: slow(0.1, decay=1.0)),
    "clip 1e-5": ("clipping-dominates", lambda: slow(0.1, clip=1e-5)),
    "initial weights too large": ("initial-loss-off", wide_init),
    "input not normalised": ("initial-loss-off", lambda: train(mlp(), spoil=lambda x, y: (4000 * x + 9000, y), **LONG)),
    "constant input": ("constant-input", lambda: train(mlp(), spoil=lambda x, y: (0 * x, y), **LONG)),
    "NaN from log 0": ("loss-not-finite", lambda: train(
        mlp(), loss=lambda a, b: F.nll_loss(torch.log(F.softmax(a, 1) - 0.02), b), **LONG)),
    "dead ReLU from the start": ("dead-relu", dead),
    "sigmoid stack": ("vanishing-gradient", lambda: train(
        (m := mlp(width=32, act=nn.Sigmoid, depth=6)), sgd(m, 0.05), **LONG)),
    "head replaced after the optimizer": ("parameters-missing-from-optimizer", stale_head),
    "detached in the middle": ("layer-without-gradient", lambda: train(Cut(), **LONG)),
    "train() forgotten after validation": ("model-in-eval-mode", forgot_train),
    "all but a bias frozen": ("-", frozen_by_mistake),
    "zero initialisation": ("-", zero_init),
    "labels shuffled": ("-", shuffled),
    "no nonlinearity": ("-", lambda: train(mlp(act=nn.Identity), **LONG)),
    "data sorted by class": ("-", sorted_data),
    "MSE broadcast": ("-", broadcast),
}  # fmt: skip


def roots(make: Callable[[], list[Facts]], seed: int) -> tuple[list[str], list[str]]:
    """Names of root findings and of those folded under them."""
    torch.manual_seed(seed)
    with TemporaryDirectory() as folder:
        verdict = judge(make(), LoadedSettings(Settings(), "probe", Path(folder)))
    kept = [f.rule for f in verdict.roots]
    return kept, [f.rule for f in verdict.findings if f.caused_by is not None]


def main() -> None:
    """Print one line a fault, then the healthy runs that were flagged."""
    torch.set_num_threads(1)
    right = alerted = 0
    for name, (expected, make) in FAULTS.items():
        found = [roots(make, seed) for seed in SEEDS]
        good = sum(r == [expected] for r, _ in found)
        right += good
        alerted += sum(bool(r) for r, _ in found)
        said = " | ".join(dict.fromkeys(" + ".join(r) or "silent" for r, _ in found))
        folded = sorted({c for _, cs in found for c in cs})
        print(f"{name:36} {good}/{len(SEEDS)}  expected {expected:34} root: {said}  folded: {', '.join(folded) or '-'}")
    runs_in_all = len(FAULTS) * len(SEEDS)
    print(f"right root cause, and it alone: {right} of {runs_in_all}; any finding: {alerted} of {runs_in_all}")
    flagged = 0
    for name, make in runs.CLEAN.items():
        for seed in SEEDS:
            runs.SEED = seed
            said, _ = roots(lambda make=make: make(Path()), seed)
            flagged += bool(said)
            if said:
                print(f"healthy run flagged: {name}, seed {seed}: {', '.join(said)}")
    print(f"healthy runs flagged: {flagged} of {len(runs.CLEAN) * len(SEEDS)}")


if __name__ == "__main__":
    main()
