"""Pseudo-labels: images with what a run is sure of, as a dataset to train on (Lee 2013, "Pseudo-Label")."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import polars as pl

from snellen.data.records import clean
from snellen.data.writers.save import new_folder
from snellen.errors import UseError
from snellen.progress import Progress, silent

THRESHOLD = 0.9
"""Scores from which a prediction is taken for a label."""


@dataclass(frozen=True)
class PseudoLabels:
    """What was written; prints as one line."""

    folder: Path
    images: int
    """Images that have labels now."""
    left_out: int
    """Images of which the run is not sure enough, or that could not be read."""
    labels: int

    def __str__(self) -> str:
        return (
            f"{self.labels} labels of {self.images} images in {self.folder}; {self.left_out} images left out, of which "
            "the run is not sure"
        )


def pseudo_label(
    run: str | Path,
    images: Sequence[str | Path],
    output: str | Path,
    *,
    threshold: float = THRESHOLD,
    progress: Progress = silent,
) -> PseudoLabels:
    """Write the images on which `run` is sure, with its predictions as labels, into the new folder `output`.

    Classification gives class folders, detection COCO JSON beside `images/`. An image without a prediction of at least
    `threshold` is left out: that a detector sees nothing says little. Copies are made; nothing of the user's is moved.
    Raises UseError when the run segments, there is no image, or `output` is not free.
    """
    from snellen.training.predict import load_run
    from snellen.verbs.predict import image_files, predict

    files = {clean(str(file)): file for source in images for file in image_files(Path(source))}
    _, recipe, class_names = load_run(Path(run))
    if recipe.task == "segmentation":
        raise UseError(f"{run}: segments; `snellen predict --masks` writes its class maps")
    table = predict(run, list(files.values()), threshold=threshold, progress=progress)
    sure = table.filter(pl.col("class_name").is_not_null() & (pl.col("score") >= threshold))
    chosen = sure["image"].unique(maintain_order=True).to_list()
    with new_folder(Path(output), Path(run)) as folder:
        names = _names(chosen)
        if recipe.task == "classification":
            for image, name in sure.select("image", "class_name").iter_rows():
                _copy(files[image], folder / _plain(name) / names[image])
        else:
            from snellen.training.coco_json import write_coco
            from snellen.verbs.predict_files import Keeper

            keeper = Keeper(class_names, None, measure=True)
            keeper.keep(sure, {image: files[image] for image in chosen})
            renamed = sure.with_columns(pl.col("image").replace_strict(names))
            sizes = {names[image]: size for image, size in keeper.sizes.items()}
            write_coco(folder / "annotations.json", renamed, sizes, class_names)
            for image in chosen:
                _copy(files[image], folder / "images" / names[image])
    return PseudoLabels(Path(output), len(chosen), len(files) - len(chosen), len(sure))


def _names(images: Sequence[str]) -> dict[str, str]:
    """Image -> a file name of its own."""
    taken: set[str] = set()
    names = {}
    for image in images:
        path = PurePath(image)
        name, again = path.name, 1
        while name.lower() in taken:
            name, again = f"{path.stem}-{again}{path.suffix}", again + 1
        taken.add(name.lower())
        names[image] = name
    return names


def _plain(name: str) -> str:
    """A class's name as a folder's: nothing that leads elsewhere."""
    plain = name.replace("/", "_").replace("\\", "_").strip(". ")
    return plain or "_"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
