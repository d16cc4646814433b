"""What the rules say of faulty and of healthy runs: `PYTHONPATH=. python benchmarks/diagnosis_probe.py`.

As in the exam, the network is examined before training and its facts are judged beside those of the run; there are no
facts of a dataset. "in-sample" are the faults that rules were written against; "held-out" are others. A fault is named
right when accepted names are the only root findings. "-" is expected where no rule claims to know the fault.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from benchmarks.held_out_faults import HELD_OUT
from tests.rules import run_injections as runs
from tests.rules.run_injections import Cut, forgot_train, mlp, sgd, stale_head, train, wide_init
from torch import nn
from torch.nn import functional as F  # noqa: N812

from snellen.facts import Facts
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, Settings

SEEDS = (11, 12, 13)
SYMPTOMS = {"loss-flat", "below-baseline", "overfitting", "weights-unchanged"}
"""Rules that say that something is wrong and not what."""
OUTCOMES = {
    "right": "right", "also": "right beside another root", "symptom": "a symptom only", "silent": "silent",
    "misnamed": "misnamed",
}  # fmt: skip
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
    "initial weights too large": ("initial-scale-off", wide_init),
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
    "all but a bias frozen": ("frozen-parameters", frozen_by_mistake),
    "zero initialisation": ("symmetric-initialisation", zero_init),
    "labels shuffled": ("-", shuffled),
    "no nonlinearity": ("missing-nonlinearity", lambda: train(mlp(act=nn.Identity), **LONG)),
    "data sorted by class": ("class-pure-batches", lambda: runs.sorted_by_class(150, epochs=5)),
    "MSE broadcast": ("broadcast-loss", lambda: runs.broadcast(**LONG)),
}  # fmt: skip


def roots(make: Callable[[], list[Facts]], seed: int) -> tuple[list[str], list[str]]:
    """Names of root findings and of those folded under them."""
    torch.manual_seed(seed)
    with TemporaryDirectory() as folder:
        verdict = judge(make(), LoadedSettings(Settings(), "probe", Path(folder)))
    kept = [f.rule for f in verdict.roots]
    return kept, [f.rule for f in verdict.findings if f.caused_by is not None]


def outcome(found: list[str], accepted: set[str]) -> str:
    """right: accepted names and no other root; also: an accepted one among others; symptom, silent or misnamed."""
    names = set(found)
    if not names:
        return "silent"
    if names & accepted:
        return "right" if names <= accepted else "also"
    return "symptom" if names <= SYMPTOMS else "misnamed"


def table(title: str, faults: Mapping[str, tuple[set[str], Callable[[], list[Facts]]]]) -> None:
    """Print one line a fault and the sums."""
    print(f"\n{title}")
    sums: Counter[str] = Counter()
    whole = 0
    for name, (accepted, make) in faults.items():
        found = [roots(make, seed) for seed in SEEDS]
        kinds = [outcome(r, accepted) for r, _ in found]
        sums.update(kinds)
        whole += kinds.count("right") == len(SEEDS)
        said = " | ".join(dict.fromkeys(" + ".join(dict.fromkeys(r)) or "silent" for r, _ in found))
        folded = ", ".join(sorted({c for _, cs in found for c in cs}))
        verdict = "/".join(f"{n} {kind}" for kind, n in Counter(kinds).items())
        print(f"{name:38} {verdict:12} root: {said}{f'  folded: {folded}' if folded else ''}")
    n = len(faults) * len(SEEDS)
    known = sum(bool(accepted) for accepted, _ in faults.values())
    print(f"{title}: {whole} of {len(faults)} faults named right, and nothing else, with every seed", end="")
    print(f"; rules claim to know {known} of them")
    print(f"{title}, runs: " + ", ".join(f"{sums[k]} {text}" for k, text in OUTCOMES.items()) + f" of {n}")


def main() -> None:
    """Print both tables, then the healthy runs that were flagged."""
    torch.set_num_threads(1)
    table("in-sample", {name: ({expected} - {"-"}, make) for name, (expected, make) in FAULTS.items()})
    table("held-out", HELD_OUT)
    print("\nhealthy")
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
