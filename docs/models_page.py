"""The page of networks by name, from the tables that `snellen.models.create` reads."""

import ast
from pathlib import Path

from pydantic import BaseModel

from snellen.models.classical import ESTIMATOR_NAMES, FEATURE_NAMES
from snellen.models.detection import DETECTORS
from snellen.models.detection.region_detector import RegionSettings
from snellen.models.detection.roi_heads import RoiSettings
from snellen.models.literature import ABSENT, CARRIED
from snellen.models.registry import CLASSIFIER_OPTIONS
from snellen.models.segmentation import segmenter_names

SOURCES = Path(__file__).parents[1] / "src" / "snellen" / "models" / "detection"


def models_page() -> str:
    """The page as Markdown."""
    lines = [
        "# Networks by name",
        "",
        "Generated from the tables themselves. `snellen train DATA --model NAME`, `snellen inspect NAME`; a name",
        "that is almost right is answered with the nearest ones.",
        "",
        "## Detectors",
        "",
        "Without more, on a small backbone that learns from scratch on a processor; `NAME-BACKBONE` takes any backbone",
        "of timm or torchvision, such as `retinanet-resnet18`, and `--pretrained` its published weights. A name with",
        "underscores is torchvision's own network, layer for layer: its published checkpoints load.",
        "",
        "| name | what it is |",
        "| --- | --- |",
        *(f"| `{name}` | {_first_line(target.partition(':')[0])} |" for name, target in DETECTORS.items()),
        "",
        "Options of the recipe's `model_options`, as in `--set model_options.box_loss=giou`:",
        "",
        "* Faster, Cascade and Mask R-CNN: " + _options(RoiSettings),
        "* Cascade R-CNN: also `deformable` (0: how many of the backbone's last 3x3 convolutions become deformable)",
        "* R-CNN, SPP-net and Fast R-CNN: " + _options(RegionSettings),
        "* SSDLite: `width` (64: channels of the neck)",
        "* classifiers, where they know it: " + ", ".join(f"`{name}`" for name in CLASSIFIER_OPTIONS),
        "",
        "## Segmenters",
        "",
        "`unet` and `fcn` are ours, small, and learn from scratch; `unet-resnet34` and its like take an encoder of",
        "segmentation-models-pytorch or timm.",
        "",
        ", ".join(f"`{name}`" for name in segmenter_names()),
        "",
        "## Classifiers",
        "",
        "Every classifier of timm and torchvision by its own name, `small-resnet` (the default up to 64 px), `lenet`.",
        "Names in tables of the literature, and what carries them:",
        "",
        "| in tables | name | in tables | name |",
        "| --- | --- | --- | --- |",
        *_pairs([(told, f"`{name}`") for told, name in CARRIED.items()]),
        "",
        "Carried neither by timm nor by torchvision, with the nearest relative that is: "
        + ", ".join(f"{told} (`{near}`)" for told, near in ABSENT.items())
        + ".",
        "",
        "## Without a trained network",
        "",
        "Features and an estimator, as `hog+svm` or `hog+colour+forest`; any timm network gives its frozen features:",
        "`resnet18+nearest-mean` is few-shot classification.",
        "",
        "* features: " + ", ".join(f"`{name}`" for name in FEATURE_NAMES) + ", or a network",
        "* estimators: " + ", ".join(f"`{name}`" for name in ESTIMATOR_NAMES),
    ]
    return "\n".join(lines) + "\n"


def _options(settings: type[BaseModel]) -> str:
    """Name and default of each."""
    return ", ".join(f"`{name}` ({field.default})" for name, field in settings.model_fields.items())


def _first_line(module: str) -> str:
    """What the first line of a detector's file says of it."""
    told = ast.get_docstring(ast.parse((SOURCES / f"{module}.py").read_text(encoding="utf-8"))) or ""
    return told.split("\n\n")[0].replace("\n", " ")


def _pairs(cells: list[tuple[str, str]]) -> list[str]:
    """Two pairs a row, down the left half first."""
    half = -(-len(cells) // 2)
    right = cells[half:] + [("", "")] * (2 * half - len(cells))
    return [f"| {a} | {b} | {c} | {d} |" for (a, b), (c, d) in zip(cells[:half], right, strict=True)]
