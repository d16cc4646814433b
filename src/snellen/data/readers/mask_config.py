"""A YAML that names the folders of each split and the classes: `train: {images: ..., masks: ...}`, `classes: {0: a}`.

Paths are relative to the YAML and may lead to a folder beside its own, no further.
"""

import os
from pathlib import Path
from typing import Any

from snellen.data.records import SPLIT_NAMES, RecordError, Records, brief, clean, inside, integer
from snellen.data.yaml_document import load_yaml


def find(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """The YAML in `folder` whose splits name all of `parts` and nothing else of a config's parts."""
    candidates = [p for pattern in ("*.yaml", "*.yml") for p in sorted(folder.glob(pattern)) if p.is_file()]
    return next((path for path in candidates if names(path, parts)), None)


def names(path: Path, parts: tuple[str, ...]) -> bool:
    """Whether a split of the YAML names all of `parts`, and `annotations` only where that is one of them."""
    try:
        splits = _splits(_load(path))
    except RecordError:
        return False
    return any(set(parts) <= s.keys() and ("annotations" in s) == ("annotations" in parts) for s in splits.values())


def read_config(records: Records, path: Path, parts: tuple[str, ...]) -> dict[str, dict[str, Path]]:
    """Split -> part -> path that exists; declares the classes. What is not there is a `missing-split-target`.

    `records.root` becomes the folder that holds all of them.
    """
    try:
        document = _load(path)
    except RecordError as error:
        records.problem("corrupt-annotation-file", path.name, f"{path.name} {error}")
        return {}
    _classes(records, path, document)
    found: dict[str, dict[str, Path]] = {}
    for split, entry in _splits(document).items():
        places: dict[str, Path] = {}
        for part in parts:
            text = entry.get(part)
            try:
                if not isinstance(text, str):
                    raise RecordError(f"{part} is {brief(text)}, no path")
                place = inside(path.parent.parent, path.parent, text)
            except RecordError as error:
                message = f"{split} of {path.name}: {error}; it was not followed"
                records.problem("unsafe-path", path.name, message, value=text)
                break
            if not place.exists():
                message = f"{split} of {path.name} names {text}, which is not there"
                records.problem("missing-split-target", path.name, message, value=text)
                break
            places[part] = place
        if len(places) == len(parts):
            found[split] = places
    every = [place for places in found.values() for place in places.values()]
    if any(not place.is_relative_to(records.root) for place in every):
        records.root = Path(os.path.commonpath([records.root, *every]))
        for problem in records.problems:
            problem["file"] = records.relative(path)
    return found


def _load(path: Path) -> dict[Any, Any]:
    document = load_yaml(path)
    if not isinstance(document, dict):
        raise RecordError(f"holds no mapping but {type(document).__name__}")
    return document


def _splits(document: dict[Any, Any]) -> dict[str, dict[Any, Any]]:
    return {
        SPLIT_NAMES[key]: entry for key, entry in document.items() if isinstance(entry, dict) and key in SPLIT_NAMES
    }


def _classes(records: Records, path: Path, document: dict[Any, Any]) -> None:
    """`classes`: id -> name, or id -> {name: ...}."""
    classes = document.get("classes")
    for key, entry in classes.items() if isinstance(classes, dict) else ():
        number, name = integer(key), entry.get("name") if isinstance(entry, dict) else entry
        if number is None or not isinstance(name, str | int | float):
            message = f"classes of {path.name} holds {brief(key)}: {brief(entry)}"
            records.problem("malformed-label", path.name, message, value=entry)
        else:
            records.classes[number] = (clean(str(name)), True)
