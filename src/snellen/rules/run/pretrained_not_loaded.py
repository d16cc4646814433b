"""See PretrainedNotLoaded."""

import json
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.rules.run._layers import modules, owner
from snellen.watching.facts import RunFacts


class PretrainedNotLoaded(Rule):
    """Layers that are treated as pretrained hold the framework's random start.

    ## What it does
    Reports frozen layers, and layers with a much lower learning rate than the rest, whose weights follow torch's
    default initialisation.

    ## Why is this bad?
    The checkpoint was not loaded (`strict=False` and a wrong prefix), or initialised over: the head learns on random
    features.

    ## How it is computed
    Before the first step each linear layer's and convolution's weight is compared with U(-1/sqrt(fan_in),
    1/sqrt(fan_in)), whose bound and spread trained weights miss. Fires when at least `share` of the frozen layers
    follow it while others train; or of those in parameter groups with at most `rate_ratio` of the highest rate.

    ## Example
        pretrained-not-loaded 4 of 4 frozen layers (backbone.0 ...) hold torch's default random weights

    ## Fix
    Look at what `load_state_dict` returns: missing and unexpected keys; load after the last initialisation.

    ## Known false positives
    Random features that are frozen on purpose; therefore a note, no warning.

    ## References
    PyTorch documentation, `Module.load_state_dict`: strict.
    """

    name = "pretrained-not-loaded"
    code = "RUN114"
    category = Category.STYLE

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.9
        """Share of the layers, 0..1, that follow the default; loaded ones do not, one by one."""
        rate_ratio: float = 0.2
        """Learning rate over the highest, from which a group is taken for pretrained; fine-tuning uses 0.1 and less."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        told = [r for r in modules(run) if r["default_start"] is not None]
        frozen = [r for r in told if not r["trainable"]]
        trained = any(r["trainable"] for r in modules(run))
        slow = self._slow(run)
        for kind, rows in (
            ("frozen", frozen if trained else []),
            ("slow", [r for r in told if r["trainable"] and r["name"] in slow]),
        ):
            fresh = [r for r in rows if r["default_start"]]
            if fresh and len(fresh) >= self.options.share * len(rows):
                what = "frozen layers" if kind == "frozen" else "layers with a lower learning rate than the rest"
                yield Finding(
                    message=(
                        f"{len(fresh)} of {plural(len(rows), 'layer')} among the {what} ({fresh[0]['name']} ...) hold "
                        f"torch's default random weights (limit {self.options.share:.0%}): no checkpoint was loaded"
                    ),
                    place=Place(layer=fresh[0]["name"]),
                    evidence={"layers": [r["name"] for r in fresh][:20]},
                    affected=len(fresh),
                    of=len(rows),
                    fix=Fix(
                        FixSafety.UNSAFE,
                        "load every key of the checkpoint (strict=True), after the last initialisation",
                    ),
                )
                return

    def _slow(self, run: RunFacts) -> set[str]:
        groups = [(r["tensors"] or [], json.loads(r["options"] or "{}")) for r in run.groups.iter_rows(named=True)]
        rates = [float(options["lr"]) for _, options in groups if isinstance(options.get("lr"), int | float)]
        top = max(rates, default=0.0)
        return {
            owner(name)
            for names, options in groups
            if isinstance(options.get("lr"), int | float) and 0 < options["lr"] <= self.options.rate_ratio * top
            for name in names
        }
