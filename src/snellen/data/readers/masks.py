"""Semantic masks: a picture an image, of which each value or colour is a class.

Layouts: images/ beside masks/ (or labels/, annotations/, SegmentationClass/ ...), in the folder itself or in each
split's, or with the splits below them; `train` beside `train_labels`; `a_mask.png` beside `a.png`; nnU-Net's imagesTr
and labelsTr; a YAML that names `images` and `masks` of each split. Classes stand in a class list (`class_lists`) or in
the YAML's `classes`; without either they are the values in use.

Problem kinds of its own: `orphan-mask`, a mask without an image. An image without a mask has `mask_file` null.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from snellen.data.decoding import UNREADABLE, open_image
from snellen.data.mask_classes import packed
from snellen.data.readers import class_lists
from snellen.data.readers.class_folders import split_folders, sub_folders
from snellen.data.readers.mask_config import read_config
from snellen.data.records import IMAGE_SUFFIXES, SPLIT_NAMES, Records, files_below

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "imagestr", "imagests")
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "segmentation",
    "segmentations", "gt", "groundtruth", "ground_truth", "labelstr", "labelsts",
)  # fmt: skip
BESIDE = ("_labels", "_label", "_masks", "_mask", "_gt", "_annotations", "annot", "_annot")
"""What is added to a split folder's name for the folder of its masks."""
SUFFIXES = ("_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "_annotation", "-mask", "_L")
"""What is added to an image's stem for its mask's; `_L` is CamVid's."""
NNUNET_CHANNEL = "_0000"
"""What nnU-Net adds to the stem of an image, and not of its mask."""
SAMPLED = 5
"""Masks whose headers decide whether colours or ids are drawn."""
PARTS = ("images", "masks")
"""What a YAML names for each split."""


@dataclass
class Pairing:
    """The images and masks of one split."""

    split: str | None
    images: dict[str, Path] = field(default_factory=dict)
    """Path below the folder, without suffix -> file."""
    masks: dict[str, Path] = field(default_factory=dict)
    """Key of the image -> its mask."""
    orphans: list[Path] = field(default_factory=list)


def find(folder: Path) -> list[Pairing]:
    """The pairs of images and masks in `folder`, by split; empty when it is no such dataset."""
    splits = split_places(folder)
    pairings = list(_in_folders(folder, None))
    if not pairings:
        for split, place in splits.items():
            pairings += _in_folders(place, split) or _beside(folder, place, split) or _suffixed(place, split)
        pairings += [] if pairings else _suffixed(folder, None)
        if any(p.masks for p in pairings):
            told = {p.split for p in pairings}
            rest = [(split, place) for split, place in splits.items() if split not in told]
            pairings += [Pairing(split, _keyed(place)) for split, place in rest]
    return pairings if any(p.masks for p in pairings) else []


def read(folder: Path, pairings: list[Pairing]) -> Records:
    """Read what `find` found. Whether ids or colours are drawn is seen from the headers of a few masks."""
    records = Records(folder, "masks", "segmentation")
    listing = class_lists.find(folder, *split_places(folder).values())
    if listing:
        class_lists.read(records, listing)
    else:
        records.notes.append("no class list found: the classes are the values in use")
    _read_pairings(records, pairings)
    return records


def read_yaml(path: Path) -> Records:
    """Read the dataset of a YAML that names folders of images and masks."""
    records = Records(path.parent, "masks", "segmentation")
    pairings = []
    for split, folders in read_config(records, path, PARTS).items():
        pairings.append(_paired(split, _keyed(folders["images"]), folders["masks"]))
    _read_pairings(records, pairings)
    return records


def _read_pairings(records: Records, pairings: list[Pairing]) -> None:
    if all(p.split is None for p in pairings):
        records.notes.append("no split declared")
    kind = _kind(records, [mask for p in pairings for mask in islice(p.masks.values(), SAMPLED)][:SAMPLED])
    records.splits = list(dict.fromkeys(p.split for p in pairings if p.split))
    for pairing in pairings:
        for key, path in pairing.images.items():
            image = records.relative(path)
            mask = records.relative(pairing.masks[key]) if key in pairing.masks else None
            if records.image(image, split=pairing.split, label_file=mask, mask_file=mask) and mask:
                records.masks.append({"image": image, "file": mask, "kind": kind})
        for path in pairing.orphans:
            file = records.relative(path)
            records.problem("orphan-mask", file, f"{file} belongs to no image")


def split_places(folder: Path) -> dict[str, Path]:
    """Split -> folder, for the sub-folders that bear a split's name, train or not."""
    return split_folders(folder) or {
        SPLIT_NAMES[d.name.lower()]: d for d in sub_folders(folder) if d.name.lower() in SPLIT_NAMES
    }


def named_folders(folder: Path, names: tuple[str, ...], root: Path) -> list[Path]:
    """The sub-folders of `folder` that bear one of `names`, in the order of these, in whatever case."""
    found = {d.name.lower(): d for d in sub_folders(folder, root)}
    return [found[name] for name in names if name in found]


def _in_folders(folder: Path, split: str | None) -> list[Pairing]:
    """Pairs of an images/ and a masks/ folder, whose sub-folders may be splits."""
    found: list[Pairing] = []
    for images in named_folders(folder, IMAGE_FOLDERS, folder):
        nnunet = {"imagestr": "train", "imagests": "test"}.get(images.name.lower())
        for masks in named_folders(folder, MASK_FOLDERS, folder):
            if nnunet and masks.name.lower() != images.name.lower().replace("images", "labels"):
                continue
            parts = split_places(images) if split is None and not nnunet else {}
            if parts:
                below = split_places(masks)
                pairs = [_paired(s, _keyed(place), below[s]) for s, place in parts.items() if s in below]
                pairs += [Pairing(s, _keyed(place)) for s, place in parts.items() if s not in below]
            else:
                pairs = [_paired(split or nnunet, _keyed(images), masks)]
            if any(p.masks for p in pairs):
                found += pairs
                break
    return found


def _beside(folder: Path, place: Path, split: str) -> list[Pairing]:
    """`train` and `train_labels`."""
    for masks in named_folders(folder, tuple(place.name.lower() + ending for ending in BESIDE), folder):
        pairing = _paired(split, _keyed(place), masks)
        if pairing.masks:
            return [pairing]
    return []


def _suffixed(folder: Path, split: str | None) -> list[Pairing]:
    """`a.png` and `a_mask.png` in one folder."""
    every = _keyed(folder)
    masks = {
        key: path for key, path in every.items() if any(key.endswith(s) and key[: -len(s)] in every for s in SUFFIXES)
    }
    if not masks:
        return []
    pairing = Pairing(split, {key: path for key, path in every.items() if key not in masks})
    _assign(pairing, masks)
    return [pairing]


def _keyed(folder: Path) -> dict[str, Path]:
    """Files by path without suffix; the second of one stem by its whole path, so that it pairs with nothing."""
    found: dict[str, Path] = {}
    for path in files_below(folder, IMAGE_SUFFIXES):
        below = path.relative_to(folder)
        key = below.with_suffix("").as_posix()
        found[key if key not in found else below.as_posix()] = path
    return found


def _paired(split: str | None, images: dict[str, Path], masks: Path) -> Pairing:
    pairing = Pairing(split, images)
    _assign(pairing, _keyed(masks))
    return pairing


def _assign(pairing: Pairing, masks: Mapping[str, Path]) -> None:
    for key, path in masks.items():
        image = next((k for k in _image_keys(key) if k in pairing.images and k not in pairing.masks), None)
        if image is None:
            pairing.orphans.append(path)
        else:
            pairing.masks[image] = path


def _image_keys(mask: str) -> Iterator[str]:
    """The keys that the image of a mask may have."""
    yield mask
    yield mask + NNUNET_CHANNEL
    for suffix in SUFFIXES:
        if mask.endswith(suffix):
            yield mask[: -len(suffix)]


def _kind(records: Records, masks: list[Path]) -> str:
    """Colours are drawn when the class list has colours and the masks have them too; a palette's are made known."""
    declared = {packed(d["colour"]) for d in records.class_details.values() if d.get("colour")}
    coloured = 0
    for path in masks:
        try:
            with open_image(path) as image:
                mode, palette = image.mode, image.getpalette("RGB") if image.mode == "P" else None
        except UNREADABLE:
            continue
        colours = [bytes(palette[i : i + 3]) for i in range(0, len(palette), 3)] if palette else []
        if declared:
            known = {int.from_bytes(colour, "little") for colour in colours} & declared
            coloured += mode in ("RGB", "RGBA") or len(known) >= min(2, len(declared))
        elif any(len(set(colour)) > 1 for colour in colours):
            for number, colour in enumerate(colours):
                records.class_details.setdefault(number, {"colour": "#" + colour.hex()})
    return "colour" if declared and 2 * coloured >= len(masks) else "index"
