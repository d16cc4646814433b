"""See AnswerInInput."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure
from snellen.watching.facts import RunFacts


class AnswerInInput(Rule):
    """One column of the input is the target in other words.

    ## What it does
    Compares each column of flat inputs (a table, a window of a series) with the target of its row.

    ## Why is this bad?
    The network copies the column. Training and validation look perfect, and the column is not there, or is empty, when
    an answer is really needed.

    ## How it is computed
    Of the first rows, at least 100. A target that is a number: the squared correlation with one column is at least
    `correlation`, which leaves no room for noise. A class: the column bears one value in every row of the class and in
    no row of another, as one that is filled in afterwards does.

    ## Example
        answer-in-input column 15 is the target (squared correlation 1.000000 over 1024 rows)

    ## Fix
    Take the column out; let the window of a series end one step earlier.

    ## Known false positives
    Exercises in which one input is to be copied.

    ## References
    Kaufman et al. 2012, Leakage in Data Mining; Kapoor & Narayanan 2023, Leakage and the reproducibility crisis (L2,
    features that are no legitimate input).
    """

    name = "answer-in-input"
    code = "RUN197"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        correlation: float = 0.999999
        """Squared correlation of a column with the target."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = measure(run, "answer-column")
        if found is None or found["value"] < self.options.correlation:
            return
        how = found["detail"] or (
            f"squared correlation {found['value']:.6f}, limit {self.options.correlation:g}: it is the target, scaled"
        )
        yield Finding(
            message=(
                f"column {found['index']} of the input gives the target away in all of {found['of']:.0f} rows ({how}); "
                "the network needs nothing else, and fails where the column is not known"
            ),
            place=Place(layer="input"),
            evidence={"column": found["index"], "correlation": found["value"]},
            fix=Fix(FixSafety.UNSAFE, f"take column {found['index']} out of the input"),
        )
