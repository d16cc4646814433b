"""See RareClass."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.findings.words import listed
from snellen.rules.data._records import class_usage


class RareClass(Rule):
    """A class with next to no training images.

    ## What it does
    Reports classes with fewer than `min_images` images to train on.

    ## Why is this bad?
    A detector or classifier cannot tell the class from the accident of those pictures, and its score in validation
    is chance: one image more or less moves it by a fifth and more.

    ## How it is computed
    Images holding a usable example of the class are counted in train, or in the whole set where no split is
    declared. Classes without a single example are left to class-missing-in-split and unused-class. One finding for
    the dataset.

    ## Example
        rare-class  3 of 80 classes have fewer than 5 training images: hair drier (1), toaster (2) ...

    ## Fix
    Collect more, merge the class into a wider one, or leave it out.

    ## Known false positives
    Few-shot benchmarks.

    ## References
    labellint asks for 10, datumaro for 2; 5 is where a fifth of a class hangs on one picture.
    """

    name = "rare-class"
    code = "DST001"
    category = Category.SUSPICIOUS
    causes = ("swapped-box-layout",)

    class Options(RuleOptions):
        """What counts as one."""

        min_images: int = 5
        """Training images of a class below which it is rare."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        usage = class_usage(data)
        splits = {s for s, _ in usage}
        wanted = "train" if "train" in splits else None
        rare = sorted((n, c) for (s, c), n in usage.items() if s == wanted and n < self.options.min_images)
        if rare:
            one = len(rare) == 1
            yield Finding(
                message=f"{len(rare)} of {data.classes.height} classes {'has' if one else 'have'} fewer than "
                f"{self.options.min_images} training images: {listed([f'{c} ({n})' for n, c in rare])}; "
                f"{'its score is' if one else 'their scores are'} chance",
                place=Place(class_name=rare[0][1] if len(rare) == 1 else None),
                evidence={"images_per_class": {c: n for n, c in rare}, "limit": self.options.min_images},
                affected=len(rare),
                of=data.classes.height,
            )
