"""See CaseClash."""

import unicodedata
from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule


class CaseClash(Rule):
    """Two image files whose names differ only in case.

    ## What it does
    Reports paths that become one where case does not count.

    ## Why is this bad?
    Copied to Windows, macOS or many network drives, one file overwrites the other, and its labels lie on the wrong
    picture from then on.

    ## How it is computed
    Paths that are equal after Unicode case folding and normalisation (NFC).

    ## Example
        images/Cat.jpg  case-clash  images/cat.jpg differs only in case ...

    ## Fix
    Rename one of the two, and its labels with it.

    ## Known false positives
    None known.

    ## References
    Unicode Standard, 3.13 Default Case Algorithms.
    """

    name = "case-clash"
    code = "IMG026"
    category = Category.SUSPICIOUS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        seen: dict[str, str] = {}
        for image in data.images["image"]:
            folded = unicodedata.normalize("NFC", image).casefold()
            first = seen.setdefault(folded, image)
            if first != image:
                yield Finding(
                    message=f"{first} differs only in case or in how its accents are written: on a disk that ignores "
                    "case, one overwrites the other and "
                    "keeps its labels",
                    place=Place(file=image, image=image),
                    evidence={"other": first},
                )
