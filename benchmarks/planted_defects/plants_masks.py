"""Masks: class ids, colours, and one PNG an object."""

import shutil

import cv2
import numpy as np
from benchmarks.planted_defects.clean import GROUND, index_mask, save_mask
from benchmarks.planted_defects.plant import Registry, Site
from benchmarks.planted_defects.scenes import CLASSES
from numpy.typing import NDArray
from PIL import Image

MASKS = Registry()
plant = MASKS.add


def _mask(s: Site, values: NDArray[np.uint8]) -> None:
    save_mask(values, s.file(f"masks/**/{s.stem}.png"))


@plant("masks", 55, "mask-size-mismatch")
def mask_at_the_networks_size(s: Site) -> None:
    """A predicted mask of 128 x 128 px was taken over as label."""
    _mask(s, cv2.resize(index_mask(s.shot), (128, 128), interpolation=cv2.INTER_NEAREST))


@plant("masks", 55, "mask-size-mismatch")
def mask_transposed(s: Site) -> None:
    """Rows and columns of a mask are exchanged."""
    _mask(s, index_mask(s.shot).T)


@plant("masks", 55, "mask-unknown-id")
def id_of_the_larger_list(s: Site) -> None:
    """One mask has the ids of another class list: 11 instead of 1."""
    mask = index_mask(s.shot)
    _mask(s, np.where(mask > 0, mask + 10, 0).astype(np.uint8))


@plant("masks", 55, "empty-mask")
def all_ignored(s: Site) -> None:
    """Every pixel is 255, the value to be ignored."""
    _mask(s, np.full((s.shot.height, s.shot.width), 255, np.uint8))


@plant("masks", 55, "mask-resampled", alone=True, also="mask-unknown-id")
def masks_scaled_as_pictures(s: Site) -> str:
    """All masks were downscaled with bilinear interpolation, ids 0, 80, 160 and 240."""
    for path in sorted((s.root / "masks").rglob("*.png")):
        with Image.open(path) as image:
            w, h = image.size
            spread = Image.fromarray(np.asarray(image) * 80)
        spread.resize((w * 3 // 4, h * 3 // 4), Image.Resampling.BILINEAR).resize(
            (w, h), Image.Resampling.BILINEAR
        ).save(path)
    rows = "".join(f"{name},{80 * k}\n" for k, name in enumerate(("ground", *CLASSES)))
    (s.root / "classes.csv").write_text("name,id\n" + rows)
    return ""


@plant("masks", 55, "lossy-mask", alone=True, also="mask-unknown-id mask-resampled mask-fragment")
def masks_saved_as_jpeg(s: Site) -> str:
    """A tool saved all masks as JPEG."""
    for path in sorted((s.root / "masks").rglob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=85)
        path.unlink()
    return ""


@plant("masks", 55, "binary-mask-0-255", alone=True)
def foreground_as_255(s: Site) -> str:
    """Foreground or not, drawn as 0 and 255, and no class list."""
    (s.root / "classes.csv").unlink()
    for path in sorted((s.root / "masks").rglob("*.png")):
        with Image.open(path) as image:
            save_mask((np.asarray(image) > 0) * np.uint8(255), path)
    return ""


@plant("masks", 55, "mask-mode")
def ids_in_three_channels(s: Site) -> None:
    """OpenCV wrote an index mask as a colour picture."""
    _mask(s, np.stack([index_mask(s.shot)] * 3, axis=-1))


@plant("masks", 55, "unreadable-mask", also="missing-mask")
def png_cut_off(s: Site) -> None:
    """A PNG cut off in the middle."""
    path = s.file(f"masks/**/{s.stem}.png")
    path.write_bytes(path.read_bytes()[:90])


@plant("masks", 56, "mask-fragment", alone=True)
def specks_of_a_lasso(s: Site) -> str:
    """A magic wand left specks of single pixels in every mask."""
    rng = np.random.default_rng(4)
    for path in sorted((s.root / "masks").rglob("*.png")):
        with Image.open(path) as image:
            mask = np.array(image)
        for y, x in zip(rng.integers(0, mask.shape[0], 25), rng.integers(0, mask.shape[1], 25), strict=True):
            mask[y, x] = rng.integers(1, 4)
        save_mask(mask, path)
    return ""


@plant("masks", 61, "missing-mask")
def mask_not_exported(s: Site) -> None:
    """A picture without a mask."""
    s.file(f"masks/**/{s.stem}.png").unlink()


@plant("masks", 62, "orphan-mask")
def mask_of_a_deleted_picture(s: Site) -> None:
    """The picture was deleted and its mask stayed."""
    s.picture.unlink()


@plant("masks", 27, "split-leak-exact")
def pair_in_both_splits(s: Site) -> None:
    """A picture and its mask are in train and in val."""
    for path in (s.picture, s.file(f"masks/**/{s.stem}.png")):
        shutil.copyfile(path, str(path).replace("/train/", "/val/"))


@plant("colour-masks", 55, "mask-unknown-id")
def colour_of_no_class(s: Site) -> None:
    """A class drawn in a colour that class_dict.csv does not have."""
    drawn = GROUND[index_mask(s.shot)]
    drawn[index_mask(s.shot) > 0] = (255, 0, 255)
    _mask(s, drawn)


@plant("colour-masks", 55, "mask-resampled", alone=True, also="mask-unknown-id")
def smooth_edges(s: Site) -> str:
    """The drawing program smoothed the edges: colours between the classes' colours."""
    for path in sorted(s.root.rglob("masks/*.png")):
        with Image.open(path) as image:
            w, h = image.size
            image.resize((2 * w, 2 * h), Image.Resampling.BILINEAR).resize((w, h), Image.Resampling.BOX).rotate(
                3, Image.Resampling.BILINEAR
            ).save(path)
    return ""


@plant("colour-masks", 55, "mask-size-mismatch")
def colours_at_half_size(s: Site) -> None:
    """A mask at half the size."""
    _mask(s, GROUND[index_mask(s.shot)[::2, ::2]])


@plant("colour-masks", 61, "missing-mask")
def colours_not_drawn(s: Site) -> None:
    """A picture without a mask."""
    s.file(f"masks/{s.stem}.png").unlink()


@plant("colour-masks", 55, "lossy-mask", alone=True, also="mask-unknown-id mask-resampled")
def colours_saved_as_jpeg(s: Site) -> str:
    """All masks were saved as JPEG."""
    for path in sorted(s.root.rglob("masks/*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    return ""


def _first(s: Site) -> str:
    return f"masks/{s.stem}_*_0.png"


@plant("instance-masks", 55, "empty-mask", also="degenerate-polygon degenerate-box")
def object_without_pixels(s: Site) -> None:
    """An object was erased and its empty mask saved."""
    save_mask(np.zeros((s.shot.height, s.shot.width), np.uint8), s.file(_first(s)))


@plant("instance-masks", 55, "mask-size-mismatch")
def object_cut_to_its_box(s: Site) -> None:
    """A mask that holds the object's box instead of the whole picture."""
    mask = s.shot.mask(s.shot.things[0])
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    save_mask(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * np.uint8(255), s.file(_first(s)))


@plant("instance-masks", 55, "unreadable-mask")
def mask_of_no_bytes(s: Site) -> None:
    """A mask of 0 bytes."""
    s.file(_first(s)).write_bytes(b"")


@plant("instance-masks", 56, "mask-fragment", alone=True)
def stray_pixels_in_objects(s: Site) -> str:
    """Stray pixels in the corners of the object's box in every mask."""
    for path in sorted(s.root.rglob("masks/*.png")):
        with Image.open(path) as image:
            mask = np.array(image)
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        mask[rows[0], columns[0]] = mask[rows[-1], columns[-1]] = 255
        save_mask(mask, path)
    return ""


@plant("instance-masks", 44, "duplicate-box")
def object_drawn_by_two(s: Site) -> None:
    """Two people drew the same object: two masks, equal."""
    path = s.file(_first(s))
    shutil.copyfile(path, path.with_name(path.name.replace("_0.png", "_9.png")))


@plant("instance-masks", 62, "orphan-mask")
def masks_of_a_deleted_picture(s: Site) -> None:
    """The picture was deleted and its masks stayed."""
    s.picture.unlink()
