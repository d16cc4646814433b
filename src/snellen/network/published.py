"""Accuracies that others published, by the names that libraries give the networks."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SOURCE = "R. Cadene, pretrained-models.pytorch, evaluation on ImageNet's validation set, centre crop"
"""https://github.com/Cadene/pretrained-models.pytorch#evaluation-on-imagenet: of the weights that repository serves,
which are not those that libraries serve today under the same name."""


@dataclass(frozen=True)
class Published:
    """One row of the table."""

    top1: float
    """Share of the 50,000 validation images, 0..1."""
    top5: float
    weights: str
    """Where the weights came from: torchvision, or ported from another framework."""


def published(name: str) -> Published | None:
    """What was published of the network called `name`, with or without its library; None: nothing."""
    return _table().get(name.removeprefix("timm:").removeprefix("torchvision:"))


@cache
def _table() -> dict[str, Published]:
    text = files("snellen.network").joinpath("published.csv").read_text(encoding="utf-8")
    return {
        row["name"]: Published(float(row["top1"]) / 100, float(row["top5"]) / 100, row["weights"])
        for row in csv.DictReader(text.splitlines())
    }
