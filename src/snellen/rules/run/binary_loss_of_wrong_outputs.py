"""See BinaryLossOfWrongOutputs."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form, made_by, rows
from snellen.watching.facts import RunFacts

CUT = ("clamp", "clampmin", "clampmax", "hardtanh", "hardsigmoid", "relu6")
"""Operators that cut numbers off at 0 and 1 and let no gradient through there."""


class BinaryLossOfWrongOutputs(Rule):
    """Binary cross-entropy with logits gets probabilities, or the one for probabilities gets logits.

    ## What it does
    Recognises which of the two the loss is, and looks at the outputs.

    ## Why is this bad?
    With the sigmoid applied twice an output of 0..1 becomes a probability of 0.5..0.73: negatives cannot be told, the
    loss stays above 0.5. Logits in the other are cut at 0 and 1 and get no gradient there.

    ## How it is computed
    Fires when the loss is binary cross-entropy with logits (or its focal form) and the outputs were made by a sigmoid
    or softmax, or a sigmoid stands between them; without autograd's word, when all outputs of at least `batches` looks,
    the last of them after step `late`, lie in 0..1 and hold more than `values` numbers. Or when it is binary
    cross-entropy of probabilities and some outputs are outside 0..1, or were brought inside by cutting them off.

    ## Example
        binary-loss-of-wrong-outputs outputs went through sigmoid already and the loss applies it again

    ## Fix
    BCEWithLogitsLoss on the raw output, without a sigmoid in the model.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation of BCEWithLogitsLoss: combines a sigmoid and the loss in one class.
    """

    name = "binary-loss-of-wrong-outputs"
    code = "RUN042"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        batches: int = 4
        """Looks at the outputs that all have to lie in 0..1."""
        late: int = 10
        """Step from which trained logits leave 0..1."""
        values: int = 128
        """Numbers in those looks; fewer lie in 0..1 by chance."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known, outputs, o = form(run), rows(run, "output").drop_nulls("minimum"), self.options
        if not known or not outputs.height:
            return
        low, high = float(outputs["minimum"].to_numpy().min()), float(outputs["maximum"].to_numpy().max())
        last = made_by(run)
        if known["target"] == "one-hot" and last not in CUT:
            return
        if known["name"] == "bce":
            if low < 0 or high > 1:
                yield self._finding(
                    f"the loss is binary cross-entropy of probabilities and the outputs run from {low:.3g} to "
                    f"{high:.3g} (limits 0 and 1): what lies outside is cut off and gets no gradient", low, high
                )  # fmt: skip
            elif last in CUT:
                yield self._finding(
                    f"the loss is binary cross-entropy of probabilities and the outputs are a {last} to 0..1 of what "
                    f"the network gives (limit: a sigmoid): what was cut off gets no gradient", low, high
                )  # fmt: skip
            return
        if known["name"] not in ("bce-logits", "binary-focal"):
            return
        sizes = [_numbers(s) for s in outputs["shape"].to_list()]
        inside = (
            low >= 0
            and high <= 1
            and outputs.height >= o.batches
            and sum(sizes) >= o.values
            and int(outputs["step"].to_numpy().max()) >= o.late
        )
        if known["before"] == "sigmoid" or last in ("sigmoid", "softmax") or (not last and inside):
            yield self._finding(
                f"the outputs ({low:.3g} to {high:.3g}) went through {last or 'a sigmoid'} before a loss that "
                f"applies the sigmoid again: probabilities of 0.5 to 0.73 are all it can see", low, high
            )  # fmt: skip

    def _finding(self, message: str, low: float, high: float) -> Finding:
        return Finding(
            message=message,
            place=Place(layer="output"),
            evidence={"minimum": low, "maximum": high},
            fix=Fix(FixSafety.UNSAFE, "binary_cross_entropy_with_logits on the raw output, no sigmoid in the model"),
        )


def _numbers(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
