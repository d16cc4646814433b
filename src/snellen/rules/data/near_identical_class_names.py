"""See NearIdenticalClassNames."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule


class NearIdenticalClassNames(Rule):
    """Two classes whose names differ in case or spacing only.

    ## What it does
    Reports class names that become equal when case, spaces, hyphens and underscores are disregarded.

    ## Why is this bad?
    One thing is split into two classes: each has half the examples, and each right answer is wrong half the time.

    ## How it is computed
    Names are case-folded and freed of spaces, hyphens and underscores, then compared.

    ## Example
        near-identical-class-names  'Car' and 'car' are two classes ...

    ## Fix
    Merge the classes.

    ## Known false positives
    Classes that truly differ by case, such as letters: upper and lower single characters are not reported.

    ## References
    labellint has the same rule.
    """

    name = "near-identical-class-names"
    code = "LBL009"
    category = Category.SUSPICIOUS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        groups: dict[str, list[str]] = {}
        for name in data.classes["class_name"].unique(maintain_order=True):
            key = "".join(c for c in name.casefold() if c not in " -_")
            if len(key) > 1:
                groups.setdefault(key, []).append(name)
        for names in groups.values():
            if len(names) > 1:
                yield Finding(
                    message=f"{' and '.join(repr(n) for n in names)} are {len(names)} classes, alike but for case or "
                    "spacing: each has a part of the examples",
                    place=Place(class_name=names[1]),
                    evidence={"names": names},
                    affected=len(names),
                )
