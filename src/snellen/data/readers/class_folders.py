"""Class folders: `[train|val|test/]<class>/*.jpg`, one folder a class."""

import os
from pathlib import Path

from snellen.data.records import IMAGE_SUFFIXES, SPLIT_NAMES, Records, clean, files_below, leads_out


def split_folders(folder: Path) -> dict[str, Path]:
    """Split -> folder, for the sub-folders that bear a split's name."""
    found = {SPLIT_NAMES[d.name.lower()]: d for d in sub_folders(folder) if d.name.lower() in SPLIT_NAMES}
    return found if "train" in found else {}


def sub_folders(folder: Path, root: Path | None = None) -> list[Path]:
    """Visible sub-folders, sorted by name; without `links_out`."""
    out = set(links_out(folder, root))
    return sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith(".") and d not in out)


def links_out(folder: Path, root: Path | None = None) -> list[Path]:
    """Links in `folder` to folders outside of `root` (None: `folder` itself), or to a folder that holds the link."""
    links = (d for d in folder.iterdir() if d.is_symlink() and d.is_dir() and not d.name.startswith("."))
    return sorted(d for d in links if leads_out(root or folder, d) or folder.resolve().is_relative_to(d.resolve()))


def has_images(folder: Path) -> bool:
    """Whether an image file lies below `folder`."""
    return next(files_below(folder, IMAGE_SUFFIXES), None) is not None


def looks_like(folder: Path) -> bool:
    """Whether at least one sub-folder, of a split or of the folder itself, holds images."""
    places = list(split_folders(folder).values()) or [folder]
    return any(has_images(c) for place in places for c in sub_folders(place, folder))


def read(folder: Path) -> Records:
    """Read a class-folder dataset. A class of which a split has no folder is a class still; ids are sorted positions.

    An empty class folder is a declared class without images. Image files beside the class folders have no label and
    are listed as `malformed-label`.
    """
    splits = split_folders(folder)
    if not splits:
        only = sub_folders(folder)
        if len(only) == 1 and not any(folder.glob("*.*g")) and any(has_images(d) for d in sub_folders(only[0])):
            inner = read(only[0])
            inner.notes.append(f"{only[0].name}/ is the only folder, so its sub-folders are taken as the classes")
            return inner
    records = Records(folder, "class-folders", "classification")
    records.splits = list(splits)
    places: list[tuple[str | None, Path]] = [*splits.items()] or [(None, folder)]
    if not splits:
        records.notes.append("no split declared")
    names = sorted({clean(c.name) for _, place in places for c in sub_folders(place, folder)})
    records.classes = {number: (name, True) for number, name in enumerate(names)}
    for split, place in places:
        for class_folder in sub_folders(place, folder):
            for path in files_below(class_folder, IMAGE_SUFFIXES, records.pass_over):
                records.image(records.relative(path), split=split, class_name=clean(class_folder.name))
        for path in links_out(place, folder):
            key = records.relative(path)
            message = f"{key} is a link that leads out of the dataset's folder, or around in it; it was not followed"
            records.problem("unsafe-path", key, message, value=os.readlink(path))
        for path in sorted(place.iterdir()):
            if path.name.startswith("."):
                if path.suffix.lower() in IMAGE_SUFFIXES or (path.is_dir() and has_images(path)):
                    records.pass_over(path, "a hidden file" if path.is_file() else "a hidden folder")
            elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                key = records.relative(path)
                records.image(key, split=split)
                records.problem("malformed-label", key, f"{key} lies beside the class folders: no label", image=key)
    return records
