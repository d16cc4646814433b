"""The formats that can be written, by name."""

from collections.abc import Callable
from importlib import import_module

from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import Written

Write = Callable[[DataFacts, Losses], Written]

FORMATS = {
    "coco": ("coco", ("objects",)),
    "voc": ("voc", ("objects",)),
    "yolo": ("yolo", ("objects",)),
    "yolo-segments": ("yolo_segments", ("objects",)),
    "yolo-obb": ("yolo_obb", ("objects",)),
    "yolo-pose": ("yolo_pose", ("objects",)),
    "csv": ("csv_boxes", ("objects",)),
    "open-images": ("open_images", ("objects",)),
    "masks": ("masks", ("objects", "masks")),
    "colour-masks": ("colour_masks", ("objects", "masks")),
    "instance-masks": ("instance_masks", ("objects",)),
    "panoptic": ("panoptic", ("objects",)),
    "class-folders": ("class_folders", ("classes", "objects")),
}
"""Name -> (module, what a dataset must hold that can be written so)."""


def holds(data: DataFacts) -> str:
    """What a dataset holds: classes of images, objects, or masks of whole images without objects."""
    if data.task == "classification":
        return "classes"
    return "masks" if data.task == "segmentation" and not data.boxes.height else "objects"


def writer(name: str) -> Write:
    """The `write` of the format called `name`. Raises KeyError."""
    module, _ = FORMATS[name]
    write: Write = import_module(f"snellen.data.writers.{module}").write
    return write
