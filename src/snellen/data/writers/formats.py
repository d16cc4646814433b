"""The formats that can be written, by name."""

from collections.abc import Callable
from importlib import import_module

from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import Written

Write = Callable[[DataFacts, Losses], Written]

FORMATS = {
    "coco": ("coco", ("detection",)),
    "voc": ("voc", ("detection",)),
    "yolo": ("yolo", ("detection",)),
    "yolo-segments": ("yolo_segments", ("detection",)),
    "yolo-obb": ("yolo_obb", ("detection",)),
    "yolo-pose": ("yolo_pose", ("detection",)),
    "class-folders": ("class_folders", ("classification", "detection")),
}
"""Name -> (module, tasks of a dataset that can be written so)."""


def writer(name: str) -> Write:
    """The `write` of the format called `name`. Raises KeyError."""
    module, _ = FORMATS[name]
    write: Write = import_module(f"snellen.data.writers.{module}").write
    return write
