"""See MissingSplitTarget."""

from collections.abc import Iterator, Mapping
from typing import Any

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.data._records import problem_findings


class MissingSplitTarget(Rule):
    """A split that names what is not there.

    ## What it does
    Reports split lists and data.yaml entries that name a folder, file or image that does not exist.

    ## Why is this bad?
    The split is smaller than believed, or absent: validation then runs on what is left, or not at all.

    ## How it is computed
    Each entry of train, val and test is looked up below the dataset's folder.

    ## Example
        data.yaml  missing-split-target  val of data.yaml names images/val, which is not there ...

    ## Fix
    Correct the entry, or restore what it names.

    ## Known false positives
    A test split that is kept elsewhere on purpose.

    ## References
    ultralytics/ultralytics#628.
    """

    name = "missing-split-target"
    code = "SPL004"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""

        def fix(problem: Mapping[str, Any]) -> Fix | None:
            if data.format != "voc" or problem["row"] is None:
                return None
            edit = {"op": "drop-line", "file": problem["file"], "row": problem["row"]}
            return Fix(FixSafety.UNSAFE, "take the line out of the list", edit)

        yield from problem_findings(data, "missing-split-target", "a part of the split is absent", fix)
