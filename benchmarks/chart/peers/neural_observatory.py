"""neural-observatory 0.5.1: hooks at its default sampling, its report at the end."""

import logging

from benchmarks.chart.harness import Said, Tool

KINDS = (
    ("NaN", "non-finite"), ("Inf", "non-finite"), ("Vanishing", "vanishing"), ("Exploding", "exploding"),
    ("collapsed", "gradient collapsed"), ("dead", "dead"), ("spike", "spike"), ("drift", "drift"),
    ("parameter change", "large update"), ("near zero", "weight collapse"), ("attention", "attention"),
)  # fmt: skip
"""A word of its warning -> the kind of alarm, the first that fits."""
MEANS = {
    "non-finite": ["loss-not-finite", "non-finite-input", "non-finite-weights"],
    "vanishing": ["vanishing-gradient", "layer-without-gradient", "initial-scale-off"],
    "exploding": ["exploding-gradient", "lr-too-high", "input-scale-off", "initial-scale-off"],
    "gradient collapsed": ["vanishing-gradient"],
    "dead": ["dead-relu"],
    "spike": ["lr-too-high", "loss-spike"],
    "drift": ["lr-too-high"],
    "large update": ["lr-too-high"],
    "weight collapse": ["weight-decay-dominates", "symmetric-initialisation"],
    "attention": ["attention-saturated"],
    "other": [],
}


class Peer(Tool):
    """neural-observatory."""

    name = "neural-observatory"

    def start(self) -> None:
        """Attach its hooks."""
        from neural_observatory import Observatory

        logging.disable(logging.CRITICAL)
        self.observatory = Observatory(self.model)
        self.observatory.watch()
        self.observatory.step(step=0, epoch=0)

    def after_step(self, loss: float, inputs: object) -> None:
        """Its counter moves on before the next forward pass."""
        self.observatory.step(step=self.steps + 1, epoch=0)

    def findings(self) -> list[Said]:
        """Results with a warning, the most severe first."""
        self.observatory.stop()
        out = []
        for result in sorted(self.observatory.report().results, key=lambda r: -r.severity):
            severity = {"warning": "warning", "critical": "error"}.get(result.status.value.lower(), "info")
            for message in result.warnings:
                kind = next((kind for word, kind in KINDS if word.lower() in message.lower()), "other")
                out.append(Said(kind, severity, message, result.layer_name))
        return out
