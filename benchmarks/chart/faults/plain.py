"""One program for each type of fault, with a sound twin, by three authors who had seen the list of types alone.

The programs (`benchmarks/chart/plain/`) are what people write: a loop, a watch around it, no part of the chart. Of
their style only the layout was changed. `ACCEPTS` is what the chart accepts for each type.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from benchmarks.chart import plain
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases

ACCEPTS: Mapping[int, tuple[str, ...]] = {
    1: ("gradients-not-cleared",),
    2: ("gradients-erased",),
    3: ("no-backward",),
    4: ("optimizer-never-steps", "parameters-missing-from-optimizer"),
    5: ("optimizer-holds-stale-tensors", "parameters-missing-from-optimizer"),
    6: ("optimizer-holds-stale-tensors", "parameters-missing-from-optimizer"),
    7: ("layer-without-gradient", "only-norms-train", "parameters-missing-from-optimizer", "pretrained-not-loaded"),
    8: ("freeze-has-no-effect",),
    9: ("lr-too-high", "lr-trial-rises"),
    10: ("lr-too-low", "lr-trial-idle"),
    11: ("lr-zero", "scheduler-never-called"),
    12: ("lr-decays-too-fast",),
    13: ("scheduler-before-optimizer", "scheduler-never-called"),
    14: ("decay-on-norms", "weight-decay-dominates"),
    15: ("decay-on-norms", "weight-decay-dominates"),
    16: ("coupled-decay", "weight-decay-dominates"),
    17: ("adam-eps-dominates", "lr-too-low", "lr-trial-idle", "momentum-too-high"),
    18: ("lr-too-high", "lr-trial-rises", "momentum-too-high"),
    19: ("clipping-dominates",),
    20: ("clip-before-unscale",),
    21: ("clip-after-step",),
    22: ("loss-not-finite", "scaler-skips"),
    23: ("accumulation-not-averaged", "lr-too-high", "lr-trial-rises"),
    24: ("parameter-in-two-optimizers",),
    25: ("optimizer-state-lost",),
    26: ("loss-spike",),
    27: ("layer-without-gradient", "loss-without-graph", "no-backward", "weights-unchanged"),
    28: ("layer-without-gradient", "loss-without-graph", "no-backward", "weights-unchanged"),
    29: ("forward-without-grad", "layer-without-gradient", "loss-without-graph"),
    30: ("gradient-always-zero", "layer-without-gradient", "step-function-in-forward"),
    31: ("layer-without-gradient", "parameters-never-used"),
    32: ("parameters-missing-from-optimizer", "unregistered-layers", "unregistered-module"),
    33: ("graph-grows",),
    34: ("graph-grows",),
    35: ("signal-lost-in-depth", "vanishing-gradient"),
    36: ("exploding-gradient",),
    37: ("initial-loss-off", "initial-scale-off", "initial-weights-off-scale"),
    38: ("dead-relu", "gradient-always-zero", "layer-without-gradient", "symmetric-initialisation", "symmetric-units"),
    39: ("initial-scale-off", "initial-weights-off-scale"),
    40: ("frozen-layers-partly-random", "pretrained-not-loaded"),
    41: ("frozen-layers-partly-random", "pretrained-not-loaded"),
    42: ("parameters-never-used", "same-layer-repeated"),
    43: ("tie-broken",),
    44: ("softmax-before-cross-entropy",),
    45: ("activation-on-output", "output-cannot-reach-targets", "relu-on-logits"),
    46: ("samples-mixed", "softmax-over-batch"),
    47: ("nll-without-log-softmax",),
    48: ("binary-loss-of-wrong-outputs", "softmax-before-cross-entropy"),
    49: ("single-output-cross-entropy",),
    50: ("cross-entropy-of-numbers", "single-output-cross-entropy", "squared-loss-on-classes"),
    51: ("broadcast-loss",),
    52: ("gradient-ascent",),
    53: ("loss-scales-with-batch", "loss-summed-over-batch", "lr-too-high", "lr-trial-rises"),
    54: ("loss-not-finite",),
    55: ("loss-not-finite", "targets-ignored"),
    56: ("class-weights-off",),
    57: ("label-smoothing-too-strong",),
    58: ("head-class-count-mismatch", "stopped-by-error", "unused-outputs"),
    59: ("linear-network", "missing-nonlinearity"),
    60: ("output-cannot-reach-targets",),
    61: ("dead-relu",),
    62: ("dead-relu", "lr-jump", "lr-too-high"),
    63: ("dropout-drops-most", "dropout-too-high"),
    64: ("evaluation-not-deterministic", "train-eval-mismatch"),
    65: ("batchnorm-few-samples", "batchnorm-tiny-batch"),
    66: ("running-statistics-unusable", "train-eval-mismatch"),
    67: ("model-in-eval-mode",),
    68: ("validation-in-train-mode",),
    69: ("norm-over-wrong-axis", "samples-mixed"),
    70: ("residual-missing",),
    71: ("attention-not-scaled",),
    72: ("future-leakage", "future-visible"),
    73: ("attention-on-padding", "padding-attended"),
    74: ("token-order-ignored",),
    75: ("projection-dead", "symmetric-units"),
    76: ("samples-mixed",),
    77: ("feature-map-collapsed", "map-of-one-cell"),
    78: ("cannot-overfit-one-batch", "one-number-bottleneck"),
    79: ("initial-loss-off", "input-scale-off", "lr-too-high"),
    80: ("constant-input", "input-normalized-twice", "input-scale-off"),
    81: ("train-val-inputs-differ", "validation-unlike-training"),
    82: ("constant-input", "input-not-used", "signal-lost-in-depth"),
    83: ("boxes-off-objects", "labels-carry-no-information", "noisy-labels", "rows-under-two-labels"),
    84: ("noisy-labels",),
    85: ("majority-predicted", "no-positive-targets", "one-class-targets"),
    86: ("majority-predicted", "one-class-targets"),
    87: ("classes-never-taught", "labels-start-at-one", "target-classes-shifted", "targets-ignored", "unused-outputs"),
    88: ("overfitting", "too-few-samples"),
    89: ("class-pure-batches",),
    90: ("boxes-off-objects", "labels-carry-no-information", "noisy-labels", "rows-under-two-labels"),
    91: ("constant-input", "repeated-rows", "rows-under-two-labels"),
    92: ("augmentation-repeats",),
    93: ("validation-rows-in-training",),
    94: ("boxes-not-augmented", "boxes-off-objects", "noisy-labels", "rows-under-two-labels"),
    95: ("loss-not-finite", "non-finite-data"),
    96: ("padding-as-target", "stopped-by-error"),
    97: ("unsigned-wraparound",),
    98: ("metric-contradicts-loss",),
    99: ("validates-another-model",),
    100: ("worst-checkpoint-kept",),
    101: ("metric-stays-zero", "target-classes-shifted"),
    102: ("degenerate-target-boxes", "target-boxes-as-sides", "target-boxes-in-other-units"),
    103: ("mostly-empty-targets", "no-positive-targets"),
    104: ("target-boxes-not-resized",),
    105: ("no-positive-targets",),
    106: ("classes-never-taught", "no-positive-targets", "one-class-targets"),
    107: ("degenerate-target-boxes",),
    108: ("metric-stays-zero", "postprocessing-hides-predictions"),
    109: ("loss-not-finite",),
    110: ("dead-relu", "loss-not-finite", "loss-spike", "lr-too-high", "lr-trial-rises"),
    111: ("wrapper-bypassed",),
    112: ("same-order-every-epoch",),
    113: ("batchnorm-few-samples", "batchnorm-not-synced", "batchnorm-tiny-batch"),
    114: ("lr-too-low", "update-below-resolution"),
    115: ("adapters-miswired", "gradient-always-zero", "layer-without-gradient", "symmetric-initialisation"),
}
"""Number of the type -> rules that name it."""


class Told:
    """What a program is given as its `watch`: tells a tool of the chart what the program tells."""

    def __init__(self, harness: Harness, model: Any, optimizer: Any) -> None:
        self._harness, self._model, self._optimizer = harness, model, optimizer
        self.step, self.epoch = harness.step, harness.epoch

    def __enter__(self) -> "Told":
        self._harness.begin(self._model, self._optimizer)
        return self

    def __exit__(self, *problem: object) -> None:
        """An exception goes on to whoever runs the case."""


def told(program: Callable[..., float]) -> Callable[[Harness, int, bool], float]:
    """`program(watch, seed, fault)` as a loop of the chart."""

    def loop(harness: Harness, seed: int, wrong: bool) -> float:
        return program(lambda model, optimizer: Told(harness, model, optimizer), seed, wrong)

    loop.__name__, loop.__doc__ = program.__name__, (program.__doc__ or "").strip().partition(". ")[2]
    return loop


LEAST = -1000.0
"""Scores are of many kinds; each is above what the authors saw."""


def programs(name: str, package: ModuleType) -> SecondCases:
    """A case and its twin for each program of the modules of `package`."""
    found = SecondCases(name)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for program in getattr(importlib.import_module(module.name), "PROGRAMS", ()):
            number = int((program.__doc__ or "").strip().partition(". ")[0])
            found.pair("script", LEAST, accepts=ACCEPTS[number], number=number)(told(program))
    return found


cases = programs("plain", plain)
