"""Finds out what a dataset is by looking at it."""

from pathlib import Path

from snellen.data.dataset_error import DatasetError
from snellen.data.readers import class_folders, coco, csv_boxes, instance_masks, mask_config, masks, panoptic, voc, yolo
from snellen.data.records import SPLIT_NAMES, Records, clean

LOOKED_FOR = (
    "a data.yaml (YOLO), Annotations/*.xml (VOC), a COCO .json, images beside masks, a CSV of boxes, or folders of "
    "images named after classes"
)


def read_dataset(path: Path) -> Records:
    """Read the dataset at `path`, a folder or an annotation file. Raises DatasetError when there is none."""
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: there is nothing at this path; give the folder or annotation file of a dataset")
    path = path.resolve()
    if clean(str(path)) != str(path):
        raise DatasetError(f"{clean(str(path))}: the path is not UTF-8; rename the folder or file")
    try:
        records = _read(path)
    except OSError as error:
        at = clean(str(error.filename or path))
        raise DatasetError(f"{at}: cannot be read ({error.strerror or error}); check its permissions") from error
    if not records.images and not records.boxes:
        why = f" ({records.problems[0]['message']})" if records.problems else ""
        raise DatasetError(f"{path}: a {records.format} dataset without a single image{why}; nothing can be examined")
    return records


def _read(path: Path) -> Records:
    if path.is_file():
        return _read_file(path)
    if recipe := yolo.find(path):
        return _beside_csv(yolo.read(recipe), path)
    if voc.annotation_folder(path):
        return _beside_csv(voc.read(path), path)
    if files := coco.find(path):
        return _beside_csv(coco.read(path, files), path)
    if config := mask_config.find(path, panoptic.PARTS):
        return panoptic.read_yaml(config)
    if config := mask_config.find(path, masks.PARTS):
        return masks.read_yaml(config)
    if parts := panoptic.find(path):
        return panoptic.read(path, parts)
    if pairings := masks.find(path):
        return _beside_csv(masks.read(path, pairings), path)
    if found := instance_masks.find(path):
        return _beside_csv(instance_masks.read(path, found), path)
    tables = csv_boxes.find(path)
    if tables and not _holds_classes(path):
        return csv_boxes.read(path, tables)
    if class_folders.looks_like(path):
        _refuse_several(path)
        return _beside_csv(class_folders.read(path), path)
    links = [link.name for link in class_folders.links_out(path)]
    told = f"; {', '.join(links[:3])}: a link that leads out of the folder is not followed" if links else ""
    raise DatasetError(f"{path}: no dataset found there; looked for {LOOKED_FOR}{told}")


def _read_file(path: Path) -> Records:
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    match path.suffix.lower():
        case ".yaml" | ".yml":
            for parts, read_yaml in ((panoptic.PARTS, panoptic.read_yaml), (masks.PARTS, masks.read_yaml)):
                if mask_config.names(path, parts):
                    return read_yaml(path)
            return yolo.read(path)
        case ".json" if panoptic.looks_like(path):
            return panoptic.read(root, [panoptic.Part(path, None)])
        case ".json":
            return coco.read(root, [path])
        case ".csv" if table := csv_boxes.recognise(path):
            return csv_boxes.read(root, [table])
    raise DatasetError(
        f"{path}: not an annotation file; expected a data.yaml, a COCO .json, a CSV of boxes or a folder"
    )


def _refuse_several(path: Path) -> None:
    """Raise DatasetError where sub-folders are datasets of their own: they are no classes."""
    inner = [sub.name for sub in class_folders.sub_folders(path) if _has_labels(sub)]
    if inner:
        raise DatasetError(f"{path}: holds {len(inner)} datasets, not classes: name one of {', '.join(inner[:12])}")


def _has_labels(folder: Path) -> bool:
    """Whether the folder is a dataset by its annotations, and not by its sub-folders' names alone."""
    found = (
        yolo.find(folder),
        voc.annotation_folder(folder),
        coco.find(folder),
        mask_config.find(folder, panoptic.PARTS),
        mask_config.find(folder, masks.PARTS),
    )
    return any(found)


def _beside_csv(records: Records, folder: Path) -> Records:
    """`records` with a note on the CSV files of boxes that lie beside and were not read."""
    for table in csv_boxes.find(folder):
        name = table.path.relative_to(folder).as_posix()
        records.notes.append(f"{clean(name)} holds boxes too and was not read: the {records.format} labels count")
    return records


def _holds_classes(folder: Path) -> bool:
    """Whether two sub-folders or more, not called images, hold images: class folders, whatever lies beside."""
    places = list(class_folders.split_folders(folder).values()) or [folder]
    found = {
        sub.name
        for place in places
        for sub in class_folders.sub_folders(place, folder)
        if sub.name.lower() not in (*masks.IMAGE_FOLDERS, *SPLIT_NAMES) and class_folders.has_images(sub)
    }
    return len(found) > 1
