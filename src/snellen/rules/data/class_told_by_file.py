"""See ClassToldByFile."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.rules.data._shortcut import PROPERTIES, told_by


class ClassToldByFile(Rule):
    """Classes that the file gives away without a look at the picture.

    ## What it does
    Reports classification datasets whose labels can be guessed from size, shape, format, compression or camera of the
    files.

    ## Why is this bad?
    The network may learn the camera or the compression of a source instead of the class, score high in validation, and
    fail on the first picture from elsewhere.

    ## How it is computed
    The property's values are cut into sixteen bins; each names the class that it holds the largest share of. The bins
    are named by half of the images and scored on the other half, both ways. The score of a class is the share of its
    images that are named right less the share of the others' that are given its name; reported where the best is
    above `min_score`. Properties that the object itself may cause, such as colour, are left out.

    ## Example
        class-told-by-file  the width alone tells 'eel' from the other classes with a score of 0.92 ...

    ## Fix
    Get pictures of all classes from all sources; re-encode them alike, and compare.

    ## Known false positives
    Scanned collections in which size does belong to the class.

    ## References
    Geirhos et al. 2020, Shortcut Learning in Deep Neural Networks; deepchecks' property-label correlation (limit 0.3).
    """

    name = "class-told-by-file"
    code = "DST016"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        min_score: float = 0.7
        """Youden's J of one class against the others, 0 chance to 1 perfect."""
        min_images: int = 10
        """Images of the smallest class below which nothing is inferred."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.task != "classification":
            return
        images = data.images.filter(pl.col("class_name").is_not_null() & pl.col("width").is_not_null())
        counts = images["class_name"].value_counts()
        if counts.height < 2 or counts["count"].min() < self.options.min_images:
            return
        names = images["class_name"].unique().sort()
        codes = images["class_name"].rank("dense").to_numpy().astype(np.int64) - 1
        for name, expression in PROPERTIES.items():
            values = images.select(expression.alias("value"))["value"].fill_null(-1).to_numpy()
            score, code = told_by(values.astype(np.float64), codes)
            if score > self.options.min_score:
                yield Finding(
                    message=f"{name} alone tells {names[code]!r} from the other classes with a score of {score:.2f} "
                    f"(limit {self.options.min_score:g}, chance 0): a network may learn the files' source instead",
                    place=Place(class_name=names[code]),
                    evidence={"property": name, "score": score},
                    rank=score,
                )
