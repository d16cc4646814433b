"""See UnknownClassId."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import plural
from snellen.rules.data._records import EXAMPLES


class UnknownClassId(Rule):
    """A label of a class that the dataset does not declare.

    ## What it does
    Reports boxes whose class id is not in the dataset's class list. One finding for each id and file.

    ## Why is this bad?
    Cross-entropy with an id beyond the head stops the run with an index error, on a GPU with a device-side assert;
    Ultralytics drops the whole image.

    ## How it is computed
    The class id of a box is absent from `names` (YOLO) or `categories` (COCO).

    ## Example
        train.json  unknown-class-id  3 boxes have class id 11, which is not among the 10 declared: ...

    ## Fix
    Declare the class, or correct the id. Ids one too high suggest counting from 1.

    ## Known false positives
    None known.

    ## References
    roboflow/rf-detr#51, #407.
    """

    name = "unknown-class-id"
    code = "LBL003"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = data.boxes.filter(pl.col("class_name").is_null() & pl.col("class_id").is_not_null())
        declared = data.classes.filter("declared").height
        for (class_id, file), group in rows.group_by(["class_id", "file"], maintain_order=True):
            images = group["image"].drop_nulls().unique(maintain_order=True).to_list()
            yield Finding(
                message=f"{plural(group.height, 'box has', 'boxes have')} class id {class_id}, which is not among the "
                f"{declared} declared: an index error in training, or the image dropped",
                place=Place(file=str(file), row=group["row"][0], image=images[0] if len(images) == 1 else None),
                evidence={"class_id": class_id, "rows": group["row"].to_list()[:EXAMPLES], "images": images[:EXAMPLES]},
                affected=group.height,
                of=data.boxes.height,
                fix=Fix(
                    FixSafety.UNSAFE,
                    "drop the boxes",
                    {"op": "drop-box", "file": str(file), "rows": group["row"].to_list()},
                ),
            )
