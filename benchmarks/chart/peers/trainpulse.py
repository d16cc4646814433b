"""trainpulse 0.4: loss, norm of the gradient and learning rate at every step.

Its alarm of slow steps is left out: the chart's steps take microseconds on a shared machine.
"""

from benchmarks.chart.harness import Said, Tool

MEANS = {
    "nan_detector": ["loss-not-finite", "non-finite-input", "non-finite-weights"],
    "loss_spike": ["lr-too-high", "loss-spike"],
    "gradient explosion": ["exploding-gradient", "lr-too-high"],
    "vanishing gradient": ["vanishing-gradient"],
    "learning_rate": ["lr-decays-too-fast"],
    "plateau": ["loss-flat"],
}
SEVERITY = {"info": "info", "warning": "warning", "critical": "error"}


class Peer(Tool):
    """trainpulse."""

    name = "trainpulse"

    def start(self) -> None:
        """Make its monitor."""
        from trainpulse import Monitor

        self.monitor = Monitor()

    def after_step(self, loss: float, inputs: object) -> None:
        """Log what its quick start logs."""
        grads = [p.grad.norm() for p in self.model.parameters() if p.grad is not None and not p.grad.is_sparse]
        self.monitor.log("loss", self.steps, loss)
        if grads:
            self.monitor.log("grad_norm", self.steps, float(sum(g.square() for g in grads) ** 0.5))
        self.monitor.log("learning_rate", self.steps, float(self.optimizers[0].param_groups[0]["lr"]))

    def findings(self) -> list[Said]:
        """The first alarm of each kind."""
        first: dict[str, Said] = {}
        for alert in self.monitor.alerts:
            kind = alert.message.split(":")[0].lower() if alert.detector == "gradient" else alert.detector
            first.setdefault(kind, Said(kind, SEVERITY[alert.severity.value], alert.message, "", alert.step))
        return sorted(first.values(), key=lambda s: (s.severity != "error", s.step or 0))
