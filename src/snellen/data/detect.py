"""Finds out what a dataset is by looking at it."""

from pathlib import Path

from snellen.data.dataset_error import DatasetError
from snellen.data.readers import class_folders, coco, voc, yolo
from snellen.data.records import Records, clean

LOOKED_FOR = "a data.yaml (YOLO), Annotations/*.xml (VOC), a COCO .json, or folders of images named after classes"


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
        if path.suffix.lower() in (".yaml", ".yml"):
            return yolo.read(path)
        if path.suffix.lower() == ".json":
            root = path.parent.parent if path.parent.name == "annotations" else path.parent
            return coco.read(root, [path])
        raise DatasetError(f"{path}: not an annotation file; expected a data.yaml, a COCO .json or a folder")
    if recipe := yolo.find(path):
        return yolo.read(recipe)
    if voc.annotation_folder(path):
        return voc.read(path)
    if files := coco.find(path):
        return coco.read(path, files)
    if class_folders.looks_like(path):
        return class_folders.read(path)
    links = [link.name for link in class_folders.links_out(path)]
    told = f"; {', '.join(links[:3])}: a link that leads out of the folder is not followed" if links else ""
    raise DatasetError(f"{path}: no dataset found there; looked for {LOOKED_FOR}{told}")
