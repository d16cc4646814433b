"""YOLO predictions: a folder with a .txt an image, rows `class cx cy w h confidence` or `class x y x y ... confidence`.

Coordinates are shares of the image's sides. A file without rows is an image without predictions.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from snellen.evaluation.prediction_records import Prediction, PredictionsError, Refused, number

Size = tuple[float, float]


def read_yolo_predictions(
    folder: Path, image_names: Mapping[str, str], image_sizes: Mapping[str, Size], max_bytes: int
) -> Iterator[Prediction | Refused]:
    """Yield the rows of every .txt in `folder`, or in its `labels`, by name of the file.

    The file's stem is the image's name; `image_names` may turn it into the dataset's, and `image_sizes` gives that
    one's width and height in pixels. Refused are missing-field (also a row without confidence, as of labels),
    not-a-number and no-image-size. Links are not followed. Raises PredictionsError when there is no such file, or all
    together are larger than `max_bytes`.
    """
    for place in (folder, folder / "labels"):
        files = sorted(p for p in place.glob("*.txt") if p.is_file() and not p.is_symlink())
        if files:
            break
    else:
        raise PredictionsError(f"{folder}: no .txt file in it or in its folder `labels`")
    if sum(p.stat().st_size for p in files) > max_bytes:
        raise PredictionsError(f"{folder}: more than {max_bytes / 1024**3:.0f} GiB of .txt files; split them")
    for file in files:
        image = image_names.get(file.stem, file.stem)
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line, text in enumerate(lines, 1):
                if text.strip():
                    yield _row(text, image, image_sizes.get(image), f"{file.name}:{line}: {text.strip()[:150]}")


def _row(text: str, image: str, size: Size | None, value: str) -> Prediction | Refused:
    class_name, *rest = text.split()
    # Class and an odd count: four numbers or some points, and the confidence.
    if len(rest) < 5 or len(rest) % 2 == 0:
        return Refused("missing-field", image, value)
    numbers = [n for n in map(number, rest) if n is not None]
    if len(numbers) < len(rest):
        return Refused("not-a-number", image, value)
    if size is None:
        return Refused("no-image-size", image, value)
    width, height = size
    *coordinates, score = numbers
    if len(coordinates) == 4:
        cx, cy, w, h = coordinates
        corners = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
        return Prediction(image, class_name, score, corners, {})
    ring = [v * (height if i % 2 else width) for i, v in enumerate(coordinates)]
    corners = (min(ring[::2]), min(ring[1::2]), max(ring[::2]), max(ring[1::2]))
    return Prediction(image, class_name, score, corners, {"rings": [ring]})
