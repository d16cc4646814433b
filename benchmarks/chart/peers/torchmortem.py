"""torchmortem 0.1.1: collectors at every step, its report in its own order."""

from benchmarks.chart.harness import Said, Tool

MEANS = {
    "Vanishing gradients detected": ["vanishing-gradient", "initial-scale-off"],
    "Exploding gradients detected": ["exploding-gradient", "lr-too-high"],
    "Gradient stalling": ["layer-without-gradient", "vanishing-gradient"],
    "High gradient noise (low SNR)": ["gradient-noise", "labels-carry-no-information"],
    "Training divergence detected": ["lr-too-high"],
    "Loss plateau detected": ["loss-flat"],
    "Catapult phase detected": ["lr-too-high"],
    "Edge of stability regime detected": ["lr-too-high"],
    "Rank collapse": ["rank-collapse"],
    "Activation saturation": ["vanishing-gradient", "saturated-activation", "input-scale-off"],
    "Update ratio too low": ["lr-too-low", "lr-zero", "clipping-dominates", "weights-unchanged"],
    "Update ratio too high": ["lr-too-high"],
    "Weight norm explosion": ["lr-too-high"],
    "Stagnant weight norms": ["weights-unchanged", "lr-too-low", "lr-zero", "optimizer-never-steps"],
    "Inter-layer weight norm imbalance": ["initial-scale-off"],
    "Dead units": ["dead-relu"],
}
SEVERITY = {"INFO": "info", "WARNING": "warning", "CRITICAL": "error"}


class Peer(Tool):
    """torchmortem."""

    name = "torchmortem"

    def start(self) -> None:
        """Attach its collectors."""
        from torchmortem import Autopsy

        self.autopsy = Autopsy(self.model, optimizer=self.optimizers[0])
        self.autopsy.attach()

    def after_step(self, loss: float, inputs: object) -> None:
        """Hand on the loss."""
        self.autopsy.step(loss=loss)

    def findings(self) -> list[Said]:
        """Its findings; the layer stands at the end of its titles."""
        self.autopsy.detach()
        report = self.autopsy.get_report()
        return [
            Said(
                f.title.split(" in ")[0],
                SEVERITY[f.severity.name],
                f.summary,
                " ".join(f.affected_layers),
                f.step_range[0],
            )
            for f in (report.findings if report else [])
        ]
