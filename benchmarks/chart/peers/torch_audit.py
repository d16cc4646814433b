"""torch-audit 0.3: hooks and patched calls, asked at every tenth step (its default of 1000 exceeds these runs).

Advice on hardware (TA2xx) is left out: it speaks of the machine and not of the run.
"""

from typing import Any

from benchmarks.chart.harness import Said, Tool

SEVERITY = {"INFO": "info", "WARN": "warning", "ERROR": "error", "FATAL": "error"}
MEANS = {
    "TA100": ["loss-not-finite", "non-finite-input", "non-finite-weights"],
    "TA102": ["exploding-gradient"],
    "TA103": ["layer-without-gradient", "dead-relu"],
    "TA104": ["no-backward", "forward-without-grad", "gradients-erased"],
    "TA105": ["dead-relu"],
    "TA301": ["input-scale-off"],
    "TA302": ["constant-input"],
    "TA303": ["channels-last-input"],
    "TA304": ["batchnorm-tiny-batch"],
    "TA305": ["non-finite-input", "input-scale-off"],
    "TA400": ["bias-before-norm"],
    "TA401": ["coupled-decay"],
    "TA402": ["decay-on-norms"],
    "TA403": ["decay-on-norms"],
    "TA404": ["even-kernel"],
    "TA405": ["symmetric-initialisation", "initial-scale-off"],
    "TA500": ["unused-layer", "layer-without-gradient"],
    "TA501": ["shared-batchnorm", "layer-repeated"],
}


class Peer(Tool):
    """torch-audit."""

    name = "torch-audit"

    def start(self) -> None:
        """Patch forward and step."""
        from torch_audit import autopatch

        self.auditor = autopatch(self.model, optimizer=self.optimizers[0], every_n_steps=10)

    def findings(self) -> list[Said]:
        """One for each rule and place."""
        result = self.auditor.finish()
        self.auditor.unpatch()
        seen: dict[Any, Said] = {}
        for f in result.findings:
            if f.rule_id.startswith("TA2"):
                continue
            place = " ".join(str(x) for x in (f.module_path, f.entity) if x)
            said = Said(f.rule_id, SEVERITY[f.severity.value], f.message, place, f.step)
            seen.setdefault((f.rule_id, place), said)
        return sorted(seen.values(), key=lambda s: ("error", "warning", "info").index(s.severity))
