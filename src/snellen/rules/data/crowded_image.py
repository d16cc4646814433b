"""See CrowdedImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.findings.measured import Measured
from snellen.findings.words import plural
from snellen.rules.data._records import EXAMPLES


class CrowdedImage(Rule):
    """An image with more objects than detectors return.

    ## What it does
    Reports images that hold more objects than the usual limits of detectors.

    ## Why is this bad?
    COCO's evaluation looks at 100 detections of an image, torchvision's models return 100, DETR has 100 queries: what
    is beyond can never be found, and counts as missed.

    ## How it is computed
    Usable, non-crowd boxes of the image above `max_objects`. One finding for all such images.

    ## Example
        crowded-image  3 images hold more than 100 objects, up to 214 ...

    ## Fix
    Raise the limits (box_detections_per_img, num_queries, maxDets), or cut the images into tiles.

    ## Known false positives
    Models without such a limit.

    ## References
    pycocotools Params.maxDets; torchvision box_detections_per_img=100; Carion et al. 2020 (DETR).
    """

    name = "crowded-image"
    code = "ANN025"
    category = Category.PERFORMANCE

    class Options(RuleOptions):
        """Thresholds."""

        max_objects: int = 100
        """Detections an image: COCO's maxDets and torchvision's and DETR's default."""

    def _counted(self, data: DataFacts) -> pl.DataFrame:
        objects = data.boxes.filter(pl.col("usable") & ~pl.col("crowd").fill_null(False))
        return objects.group_by("image").len("objects")

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(self._counted(data)["objects"], "max_objects", "objects of an image", "images with objects")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        full = (
            self._counted(data)
            .filter(pl.col("objects") > self.options.max_objects)
            .sort("objects", "image", descending=[True, False])
        )
        if full.is_empty():
            return
        lost = int((full["objects"] - self.options.max_objects).sum())
        yield Finding(
            message=f"{plural(full.height, 'image holds', 'images hold')} more than {self.options.max_objects} "
            "objects, up to "
            f"{full['objects'][0]:,}: a detector that returns {self.options.max_objects} misses {lost:,} of them "
            "whatever it "
            "learns",
            place=Place(image=full["image"][0]),
            evidence={
                "images": full["image"].head(EXAMPLES).to_list(),
                "objects": full["objects"].head(EXAMPLES).to_list(),
            },
            affected=full.height,
            of=data.images.height,
        )
