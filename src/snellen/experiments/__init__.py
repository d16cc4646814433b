"""Experiments on a model, one batch and a loss: each a function that returns rows of `watching.facts.TRIALS`.

`run.everything` runs all of them within a time, `run.output_level` the cheap ones; everything that an experiment does
to model, optimizer and random generators is undone bit for bit (`snapshot.restored`). Names of trials:

* losses: initial-loss, prior-entropy, target-variance, batch-loss, doubled-batch
* dependence: zeroed-input, constant-input, permuted-input, sample-spread, input-spread, cross-sample,
  cross-sample-order, cross-sample-training
* consistency: evaluation-repeated, mode-loss, mode-outputs, running-statistics
* linearity: midpoint, linear-depth
* sequences: position-blindness, future-leakage, present-asked, answer-seen, padding-attended
* fitting: overfit-loss, overfit-score, overfit-plateau, overfit-gradient
* rates: lr-trial, lr-range, lr-suggestion
* reach: gradient-reach, optimizer-coverage, memory

A trial that could not be made has no value, and its detail says why.
"""
