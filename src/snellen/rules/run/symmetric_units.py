"""See SymmetricUnits."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import always_zero, gradients, handmade, matrices, owner
from snellen.watching.facts import RunFacts


class SymmetricUnits(Rule):
    """All units of a layer began with the same weights.

    ## What it does
    Reports trained layers whose rows of weights were equal before the first step.

    ## Why is this bad?
    Equal units get equal gradients and stay equal: a layer of 512 units learns as one. All-zero layers one behind the
    other pass neither signal nor gradient and never learn at all.

    ## How it is computed
    Rows of the weight are compared exactly before the first step. A constant other than zero always fires. Zeros fire
    where they are more than `zero_share` of the trained matrices, or where the weight's gradient is exactly 0 at every
    look after step 0: a zero head, residual branch or adapter moves from the second step on. Networks without layers of
    torch's own are judged by their matrices, where these follow one another in size.

    ## Example
        symmetric-units all 128 units of fc1 began with the same 64 weights (0.5); they learn as one

    ## Fix
    Draw the weights at random: `nn.init.kaiming_normal_`.

    ## Known false positives
    Fixed filters (blur, Sobel) that are left trainable on purpose.

    ## References
    Goodfellow, Bengio & Courville 2016, Deep Learning, sec. 8.4; Zhang, Dauphin & Ma 2019, Fixup, arXiv:1901.09321.
    """

    name = "symmetric-units"
    code = "RUN110"
    category = Category.CORRECTNESS
    causes = ("symmetric-initialisation",)

    class Options(RuleOptions):
        """Options of this rule."""

        zero_share: float = 0.5
        """Share of the trained weight matrices, 0..1, above which zero ones are a fault: residual networks and LoRA
        zero one of two."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run, at the first such layer."""
        trained = matrices(run) or handmade(run)
        rows = [r for r in trained if r["fan_in"] > 1 and r["equal_rows"] is not None]
        zeros = [r for r in rows if not r["start_norm"]]
        stuck = always_zero(gradients(run))
        # Of all matrices: coupling flows zero the last layer of each network, and the first may have one input.
        many = len(zeros) > self.options.zero_share * len(trained)
        bad = [r for r in rows if r["equal_rows"] and (r["start_norm"] or many or r["name"] in stuck)]
        # The outputs of one layer alone have a target each, which tells them apart (softmax regression).
        if not bad or len(trained) == 1:
            return
        row, layers = bad[0], list(dict.fromkeys(owner(r["name"]) for r in bad))
        units, size = row["shape"][0], row["start_norm"] / (row["shape"][0] * row["fan_in"]) ** 0.5
        more = f", and so did those of {len(layers) - 1} more layers" if len(layers) > 1 else ""
        yield Finding(
            message=(
                f"all {units} units of {layers[0]} (limit 1) began with the same {row['fan_in']} weights of size "
                f"{size:.3g}{more}: they get the same gradient and learn as one"
            ),
            place=Place(layer=layers[0]),
            evidence={
                "parameter": row["name"],
                "layers": layers[:20],
                "chain": [
                    f"before step 0 the rows of {row['name']} are equal",
                    "equal units get equal gradients",
                    "its gradient is exactly 0 at every look" if row["name"] in stuck else "so they stay equal",
                ],
            },
            affected=len(bad),
            of=len(rows),
            fix=Fix(FixSafety.UNSAFE, "draw the weights at random: nn.init.kaiming_normal_"),
        )
