"""Other tools on the same cases. Each module holds a `Peer` (a `harness.Tool`) and `MEANS`: the tool's own name of an
alarm -> names of the chart's diagnoses that it states, in the tool's favour where it can be read in two ways."""

MODULES = {
    "torch-audit": "torch_audit",
    "torchmortem": "torchmortem",
    "guardtower": "guardtower",
    "trainpulse": "trainpulse",
    "neural-observatory": "neural_observatory",
    "torchdiag": "torchdiag",
    "sagemaker-rules": "sagemaker_rules",
}
"""Name of the tool -> module here."""
