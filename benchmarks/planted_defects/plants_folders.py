"""Class folders as wholes: splits, classes, drifts. (Pictures: `plants_images`.)"""

import shutil

import numpy as np
from benchmarks.planted_defects.plant import Registry, Site
from PIL import Image

FOLDERS = Registry()
plant = FOLDERS.add


@plant("folders", 31, "no-validation-split", alone=True)
def val_folder_forgotten(s: Site) -> str:
    """The validation folder was not copied."""
    shutil.rmtree(s.root / "val")
    return ""


@plant("folders", 31, "empty-split", alone=True, also="class-missing-in-split no-validation-split class-order-differs")
def val_folders_empty(s: Site) -> str:
    """The validation folder has its class folders and no pictures."""
    for path in sorted((s.root / "val").rglob("*.jpg")):
        path.unlink()
    return "val"


@plant("folders", 32, "class-missing-in-split", alone=True, also="class-order-differs unused-class label-drift")
def class_only_in_val(s: Site) -> str:
    """All pictures of a class went to validation."""
    for path in sorted((s.root / "train" / "shell").iterdir()):
        path.unlink()
    return "shell"


@plant("folders", 70, "near-identical-class-names", alone=True, also="class-order-differs")
def class_folder_with_a_capital(s: Site) -> str:
    """Two people made a folder for the same class: shell and Shell."""
    for split in ("train", "val"):
        files = sorted((s.root / split / "shell").iterdir())
        (s.root / split / "Shell_").mkdir()
        for path in files[::2]:
            path.rename(s.root / split / "Shell_" / path.name)
    return "Shell_"


@plant("folders", 73, "rare-class", alone=True, also="class-imbalance class-order-differs")
def class_of_three_pictures(s: Site) -> str:
    """A class of three pictures."""
    for split, keep in (("train", 2), ("val", 1)):
        for path in sorted((s.root / split / "shell").iterdir())[keep:]:
            path.unlink()
    return "shell"


@plant("folders", 75, "single-class", alone=True)
def one_class(s: Site) -> str:
    """Only one class is left."""
    for split in ("train", "val"):
        for name in ("brick", "shell"):
            shutil.rmtree(s.root / split / name)
    return ""


@plant("folders", 76, "class-order-differs", alone=True, also="class-missing-in-split")
def val_lacks_a_class_folder(s: Site) -> str:
    """Validation lacks a class, so that its folders count differently."""
    shutil.rmtree(s.root / "val" / "brick")
    return ""


@plant("folders", 72, "unused-class", alone=True, also="class-missing-in-split")
def class_folder_without_pictures(s: Site) -> str:
    """A class folder in both splits that nobody filled."""
    for split in ("train", "val"):
        (s.root / split / "stone").mkdir()
    return "stone"


@plant("folders", 83, "image-drift", alone=True)
def val_from_another_lamp(s: Site) -> str:
    """Validation was photographed under yellow light."""
    for path in sorted((s.root / "val").rglob("*.jpg")):
        with Image.open(path) as image:
            values = np.asarray(image, np.float64) * (1.15, 0.95, 0.45)
        Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path, quality=90)
    return ""


@plant("folders", 85, "class-told-by-file", alone=True)
def class_from_another_camera(s: Site) -> str:
    """All pictures of a class come from another camera, with another size."""
    for path in sorted(s.root.rglob("shell/*.jpg")):
        with Image.open(path) as image:
            small = image.resize((image.width * 5 // 8, image.height * 5 // 8))
        small.save(path, quality=90)
    return ""


@plant("folders", 82, "label-drift", alone=True)
def val_from_another_site(s: Site) -> str:
    """Validation comes from a site of bricks; training has hardly any."""
    for path in sorted((s.root / "train" / "brick").iterdir())[5:]:
        path.unlink()
    for name in ("leaf", "shell"):
        for path in sorted((s.root / "val" / name).iterdir())[4:]:
            path.unlink()
    return "brick"
