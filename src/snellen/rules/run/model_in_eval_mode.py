"""See ModelInEvalMode."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class ModelInEvalMode(Rule):
    """The model is in eval mode while it trains.

    ## What it does
    Reads the mode of the model at each training pass.

    ## Why is this bad?
    Dropout is off and batch norm uses and never updates its running statistics: training and evaluation drift
    apart.

    ## How it is computed
    Fires when at least `min_steps` steps and `share` of all ran in eval mode and the model has layers that act
    differently in the two modes and train, or stand beside some that do.

    ## Example
        model-in-eval-mode 140 of 150 training steps ran in eval mode; 4 layers act differently

    ## Fix
    Call `model.train()` at the start of each epoch, after validation.

    ## Known false positives
    Batch norm held still in a network that trains: freeze the weights of those layers, too.

    ## References
    A labelled sample of 365 silent bugs from the PyTorch forum (PYSIASSIST) puts missed or misplaced training
    operations second of all causes, with 56.
    """

    name = "model-in-eval-mode"
    code = "RUN013"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.2
        """Share of steps in eval mode, in 0..1; a run of two epochs that forgets train() has 0.5."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        modes = run.steps["training_mode"].drop_nulls()
        wrong = int((~modes).sum() or 0)
        layers = event(run, "mode-sensitive-trained") or event(run, "mode-sensitive-layers")
        if wrong >= self.options.min_steps and wrong >= self.options.share * len(modes) and layers and layers["value"]:
            yield Finding(
                message=(
                    f"{wrong} of {len(modes)} training steps (limit {self.options.share:.0%}) ran in eval "
                    f"mode, where {plural(int(layers['value']), 'layer acts', 'layers act')} (batch norm, dropout) "
                    "otherwise; call model.train() after validation"
                ),
                affected=wrong,
                of=len(modes),
                evidence={"layers": int(layers["value"])},
                fix=Fix(FixSafety.UNSAFE, "call model.train() at the start of each epoch, after validation"),
            )
