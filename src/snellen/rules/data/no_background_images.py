"""See NoBackgroundImages."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions


class NoBackgroundImages(Rule):
    """A detection dataset in which every image has an object.

    ## What it does
    Reports datasets without a single image that holds nothing.

    ## Why is this bad?
    Detectors learn what nothing looks like from the surroundings of objects only; on empty scenes they tend to find
    something.

    ## How it is computed
    No listed image is without boxes, and there are at least `min_images` of them.

    ## Example
        no-background-images  all 364 images hold objects ...

    ## Fix
    Add up to a tenth of images without objects from the place of use.

    ## Known false positives
    Scenes that always hold an object.

    ## References
    A tenth at most is the common advice for YOLO models.
    """

    name = "no-background-images"
    code = "DST011"
    category = Category.PEDANTIC

    class Options(RuleOptions):
        """Thresholds."""

        min_images: int = 50
        """Images below which nothing is inferred."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        listed = data.images.filter("listed")
        if data.task != "detection" or listed.height < self.options.min_images:
            return
        if listed.join(data.boxes.select("image").unique(), on="image", how="anti").is_empty():
            yield Finding(
                message=f"all {listed.height:,} images hold objects: what an empty scene looks like is never shown",
                of=listed.height,
            )
