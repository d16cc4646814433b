"""See MissingLabelFile."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules.data._records import EXAMPLES


class MissingLabelFile(Rule):
    """Images without a label file, in a format that has one for each.

    ## What it does
    Reports images of a YOLO or VOC set for which no label file exists. An empty label file is a declared background
    and is not reported.

    ## Why is this bad?
    A trainer takes such an image as background: if its objects were only forgotten, the network is punished for
    finding them.

    ## How it is computed
    Images of splits read, without label file; one finding for each split. A dataset says "background" in one of two
    ways: by an empty label file or by none. Where it has empty label files, or in VOC, a missing one is reported, when
    the images concerned are no more than `max_share` of the split; where it has none, leaving out the file is its way.

    ## Example
        missing-label-file  3 of 500 images of train have no label file and train as background; ...

    ## Fix
    Label them, or add empty files to say that they hold no object.

    ## Known false positives
    Sets put together from two sources that mark background in both ways.

    ## References
    Roboflow's health check keeps "missing" and "null" apart for the same reason.
    """

    name = "missing-label-file"
    code = "LBL005"
    category = Category.SUSPICIOUS
    causes = ("corrupt-annotation-file",)

    class Options(RuleOptions):
        """What counts as one."""

        max_share: float = 0.2
        """Share of a split's images above which a missing file is taken as the set's way to say background."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.format not in ("yolo", "voc"):
            return
        labelled = data.images.filter(pl.col("label_file").is_not_null())
        speaking = data.boxes["file"].unique().to_list() + data.problems["file"].unique().to_list()
        if data.format == "yolo" and labelled["label_file"].is_in(speaking).all():
            return
        for (split,), group in data.images.group_by(["split"], maintain_order=True):
            bare = group.filter(pl.col("label_file").is_null())["image"].to_list()
            if bare and len(bare) <= self.options.max_share * group.height:
                name = None if split is None else str(split)
                yield Finding(
                    message=f"{len(bare)} of {group.height} images{f' of {name}' if name else ''} "
                    f"{'has' if len(bare) == 1 else 'have'} no label file and "
                    f"{'trains' if len(bare) == 1 else 'train'} as background; "
                    "an empty file would say that it is meant",
                    place=Place(split=name, image=bare[0] if len(bare) == 1 else None),
                    evidence={"images": bare[:EXAMPLES]},
                    affected=len(bare),
                    of=group.height,
                )
