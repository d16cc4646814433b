"""See DecayOnNorms."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import listed, plural
from snellen.rules.run._calls import family, groups
from snellen.rules.run._series import top_rate
from snellen.watching.facts import RunFacts


class DecayOnNorms(Rule):
    """Strong weight decay acts on norm scales, biases or embeddings.

    ## What it does
    Looks for norm layers and biases in parameter groups with weight decay, and how fast it shrinks them.

    ## Why is this bad?
    Decay pulls a scale from 1 towards 0 without making the function any simpler; training slows.

    ## How it is computed
    Per step decay shrinks a weight by lr wd (AdamW) or lr wd / (1 - momentum) (SGD). Fires when that is at least
    `shrink` in a group that holds parameters of one dimension. Usual recipes have 5e-5 to 5e-4.

    ## Example
        decay-on-norms weight decay 1 at lr 0.003 shrinks 12 norm and bias vectors by 0.3 % a step (limit 0.1
        %)

    ## Fix
    Give parameters of fewer than two dimensions a group with weight_decay 0.

    ## Known false positives
    None known at these sizes.

    ## References
    torch-audit TA402 and TA403; He et al. 2019, Bag of Tricks, arXiv:1812.01187, section 3.1.
    """

    name = "decay-on-norms"
    code = "RUN086"
    category = Category.STYLE

    class Options(RuleOptions):
        """Options of this rule."""

        shrink: float = 1e-3
        """Share by which one step shrinks a weight; twice the strongest usual recipe (SGD 0.1, momentum 0.9, 5e-4)."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        axes = {row["name"]: (len(row["shape"]), row["layer"]) for row in run.parameters.iter_rows(named=True)}
        for row, options in groups(run):
            decay, rate = float(options.get("weight_decay") or 0.0), top_rate(run)
            kind = family(row["kind"])
            if decay <= 0 or kind not in ("adam-decoupled", "sgd") or rate != rate:
                continue
            shrink = rate * decay / (1 - min(float(options.get("momentum") or 0.0), 0.999) if kind == "sgd" else 1.0)
            flat = [n for n in row["tensors"] if n in axes and (axes[n][0] < 2 or "Embedding" in axes[n][1])]
            if flat and shrink >= self.options.shrink:
                yield Finding(
                    message=(
                        f"weight decay {decay:g} at lr {rate:g} shrinks {plural(len(flat), 'norm, bias or embedding')} "
                        f"({listed(flat, 3)}) by {shrink:.2%} a step (limit {self.options.shrink:.2%}); put them "
                        f"in a group "
                        "without decay"
                    ),
                    place=Place(layer=flat[0]),
                    evidence={"parameters": flat[:20], "shrink": shrink, "chain": [f"decay {decay:g}", f"lr {rate:g}"]},
                    affected=len(flat),
                    fix=Fix(FixSafety.UNSAFE, "give norms, biases and embeddings a group with weight_decay 0"),
                )
                return
