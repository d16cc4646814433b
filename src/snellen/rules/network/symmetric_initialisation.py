"""See SymmetricInitialisation."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts


class SymmetricInitialisation(Rule):
    """All units of a layer start with the same weights.

    ## What it does
    Reports convolution and linear layers whose output units all hold the same weights.

    ## Why is this bad?
    Equal units get equal gradients, so they stay equal for ever: a layer of 512 units learns as one.

    ## How it is computed
    The rows of the weight matrix are compared exactly. A constant other than zero always fires; an all-zero matrix
    fires
    only where such matrices are more than `zero_share` of the network's, because zero is the right start for the last
    layer of a residual branch or a head. Layers with fewer than two inputs per unit and frozen ones are passed over.

    ## Example
        symmetric-initialisation  fc1: its 128 units all start with the same 64 weights

    ## Fix
    Draw the weights at random: `nn.init.kaiming_normal_`.

    ## Known false positives
    Fixed filters (blur, Sobel) that are left trainable on purpose.

    ## References
    Goodfellow, Bengio & Courville 2016, Deep Learning, sec. 8.4; Zhang, Dauphin & Ma 2019, Fixup, arXiv:1901.09321.
    """

    name = "symmetric-initialisation"
    code = "NET004"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Thresholds."""

        zero_share: float = 0.5
        """Share of the weight matrices, 0..1, above which all-zero ones are a fault; residual nets zero one of two."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        kinds = dict(network.layers.select("layer", "kind").rows())
        rows = [
            r
            for r in network.parameters.iter_rows(named=True)
            if r["trainable"]
            and r["identical_rows"] is not None
            and (r["fan_in"] or 0) > 1
            and kinds.get(r["layer"], "").startswith(("Conv", "Linear", "Bilinear", "LSTM", "GRU", "RNN"))
        ]
        zeros = sum(r["identical_rows"] and r["mean"] == 0 and r["std"] == 0 for r in rows)
        many_zeros = zeros > self.options.zero_share * len(rows)
        for r in rows:
            if not r["identical_rows"] or (r["mean"] == 0 and r["std"] == 0 and not many_zeros):
                continue
            yield Finding(
                message=f"all {r['shape'][0]} units of {r['layer']} start with the same {r['fan_in']} weights"
                f" (mean {r['mean']:.4g}):"
                " they get the same gradients and learn as one unit",
                place=Place(layer=r["layer"]),
                evidence={"parameter": r["parameter"], "shape": r["shape"], "mean": r["mean"], "std": r["std"]},
                affected=r["shape"][0],
                of=r["shape"][0],
                rank=r["numel"],
            )
