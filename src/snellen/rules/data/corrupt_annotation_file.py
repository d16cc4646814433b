"""See CorruptAnnotationFile."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.data._records import problem_findings


class CorruptAnnotationFile(Rule):
    """An annotation file that cannot be parsed.

    ## What it does
    Reports JSON, XML or YAML annotation files that are damaged, or larger than 1 GiB.

    ## Why is this bad?
    None of its labels is read. A loader that parses it when its turn comes stops in the middle of an
    epoch; a converter may leave the image out without a word.

    ## How it is computed
    The file goes through the standard parser of its format (XML without entities or external references).

    ## Example
        Annotations/0007.xml  corrupt-annotation-file  0007.xml is not usable XML: mismatched tag ...

    ## Fix
    Fetch or export the file again.

    ## Known false positives
    None known.

    ## References
    defusedxml, "Attack vectors", for the XML that is refused.
    """

    name = "corrupt-annotation-file"
    code = "LBL001"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        yield from problem_findings(data, "corrupt-annotation-file", "none of its labels was read")
