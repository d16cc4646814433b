"""See UnsafePath."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.data._records import problem_findings


class UnsafePath(Rule):
    """A path that leaves the dataset.

    ## What it does
    Reports paths in annotations that are absolute or climb out of the dataset's folder, and linked class folders that
    lead out of it or around in it.

    ## Why is this bad?
    At best it works on one machine only; at worst a downloaded dataset makes a trainer read, or a converter
    overwrite, files of yours.

    ## How it is computed
    The path is joined with its base and normalised; the result must lie below the dataset's folder. A linked folder
    must lead to one below the dataset's folder that does not hold the link. What fails is never opened.

    ## Example
        train.json:3  unsafe-path  image 3: the path leaves the dataset's folder ...

    ## Fix
    Make the path relative and keep it inside the dataset.

    ## Known false positives
    A dataset spread over two folders on purpose, by paths or by links: give the folder that holds both.

    ## References
    CWE-22, path traversal.
    """

    name = "unsafe-path"
    code = "LBL010"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        yield from problem_findings(data, "unsafe-path", "the record was left out")
