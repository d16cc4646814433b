"""Faults that spoil a whole training: what is wrong with its scores is, first of all, their consequence."""

START_FAULTS = ("symmetric-units", "initial-weights-off-scale")
"""What a watched run shows of its weights before the first step."""

NETWORK_FAULTS = (
    "non-finite-weights",
    "symmetric-initialisation",
    "initial-scale-off",
    "activation-on-output",
    *START_FAULTS,
)

DEPTH_FAULTS = (
    "step-function-in-forward",
    "norm-over-wrong-axis",
    "residual-missing",
    "attention-not-scaled",
    "future-visible",
    "future-leakage",
    "attention-on-padding",
    "padding-attended",
    "token-order-ignored",
    "projection-dead",
    "map-of-one-cell",
    "one-number-bottleneck",
    "same-layer-repeated",
    "frozen-layers-partly-random",
    "validation-in-train-mode",
    "dropout-drops-most",
    "batchnorm-few-samples",
    "running-statistics-unusable",
    "exploding-gradient",
    "signal-lost-in-depth",
)
"""What is wrong with the architecture of a watched run, or with what flows through it."""

DATA_FAULTS = (
    "input-scale-off",
    "input-normalized-twice",
    "labels-carry-no-information",
    "rows-under-two-labels",
    "repeated-rows",
    "channels-interleaved",
    "masks-not-augmented",
    "target-scale-off",
    "validation-unlike-training",
)
"""What is wrong with the samples of a run, whatever the network."""

LOSS_FAULTS = (
    "gradient-ascent",
    "nll-without-log-softmax",
    "binary-loss-of-wrong-outputs",
    "single-output-cross-entropy",
    "squared-loss-on-classes",
    "cross-entropy-of-numbers",
    "loss-summed-over-batch",
    "label-smoothing-too-strong",
    "class-weights-off",
    "targets-ignored",
    "labels-start-at-one",
    "output-cannot-reach-targets",
    "one-class-targets",
    "non-finite-data",
    "unsigned-wraparound",
    "dropout-on-outputs",
    "loss-against-targets",
)
"""What is wrong with the loss of a run, or with what it is given."""

LOOP_FAULTS = (
    "loss-without-graph",
    "optimizer-holds-stale-tensors",
    "only-norms-train",
    "lr-decays-too-fast",
    "adam-eps-dominates",
    "momentum-too-high",
    "clip-before-unscale",
    "accumulation-not-averaged",
    "parameter-in-two-optimizers",
    "optimizer-state-lost",
    "loss-spike",
    "gradient-always-zero",
    "unregistered-layers",
    "wrapper-bypassed",
    "update-below-resolution",
    "adapters-miswired",
    "scaler-skips",
    "coupled-decay",
    "plateau-mode-reversed",
)
"""What is wrong with the order of calls, the optimizer or the graph of a run."""

TRIAL_FAULTS = ("linear-network", "samples-mixed")
"""What experiments on a watched model show of its wiring."""

RUN_FAULTS = (
    *TRIAL_FAULTS,
    *LOOP_FAULTS,
    *LOSS_FAULTS,
    *DATA_FAULTS,
    *DEPTH_FAULTS,
    "loss-not-finite",
    "no-backward",
    "optimizer-never-steps",
    "gradients-erased",
    "forward-without-grad",
    "parameters-missing-from-optimizer",
    "layer-without-gradient",
    "lr-zero",
    "softmax-before-cross-entropy",
    "softmax-over-batch",
    "relu-on-logits",
    "constant-input",
    "negative-loss",
    "lr-too-high",
    "lr-too-low",
    "weights-unchanged",
    "clipping-dominates",
    "weight-decay-dominates",
    "initial-loss-off",
    "dead-relu",
    "vanishing-gradient",
    "gradients-not-cleared",
    "no-positive-targets",
    "model-in-eval-mode",
    "class-pure-batches",
    "broadcast-loss",
)

TRAINING_FAULTS = (*RUN_FAULTS, *NETWORK_FAULTS, "frozen-parameters", "missing-nonlinearity")
