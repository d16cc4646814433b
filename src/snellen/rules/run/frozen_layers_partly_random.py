"""See FrozenLayersPartlyRandom."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import plural
from snellen.rules.run._layers import modules
from snellen.watching.facts import RunFacts


class FrozenLayersPartlyRandom(Rule):
    """Some frozen layers hold trained weights and others torch's random start.

    ## What it does
    Reports frozen layers whose weights follow torch's default initialisation beside frozen ones that do not.

    ## Why is this bad?
    The checkpoint reached only some layers (`strict=False` and keys with another prefix), or a layer was initialised
    again: random layers that may not learn stand between trained ones.

    ## How it is computed
    Before the first step each frozen linear layer's and convolution's weight is compared with U(-1/sqrt(fan_in),
    1/sqrt(fan_in)), whose bound and spread trained weights miss. Fires when some of them, and not all, follow it.

    ## Example
        frozen-layers-partly-random 1 of 5 frozen layers (backbone.3) hold torch's random start: not loaded

    ## Fix
    Look at what `load_state_dict` returns: missing and unexpected keys; load after the last initialisation.

    ## Known false positives
    Random networks with an initialisation of their own for some of their layers, frozen on purpose.

    ## References
    PyTorch documentation, `Module.load_state_dict`: strict.
    """

    name = "frozen-layers-partly-random"
    code = "RUN191"
    category = Category.SUSPICIOUS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = modules(run)
        frozen = [r for r in rows if r["default_start"] is not None and r["trainable"] is False]
        fresh = [r for r in frozen if r["default_start"]]
        if not fresh or len(fresh) == len(frozen) or not any(r["trainable"] for r in rows):
            return
        yield Finding(
            message=(
                f"{len(fresh)} of {plural(len(frozen), 'frozen layer')} ({', '.join(r['name'] for r in fresh[:3])}"
                f"{' ...' if len(fresh) > 3 else ''}) hold torch's random start (limit 0), the others trained weights: "
                "they were not loaded and cannot learn"
            ),
            place=Place(layer=fresh[0]["name"]),
            evidence={"layers": [r["name"] for r in fresh][:20]},
            affected=len(fresh),
            of=len(frozen),
            fix=Fix(
                FixSafety.UNSAFE,
                "load every key of the checkpoint (strict=True), after the last initialisation",
            ),
        )
