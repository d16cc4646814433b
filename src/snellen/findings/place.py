"""Where a finding is."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The spot a finding points at. Unset fields are not part of it; an empty place is the whole subject.

    Paths are relative to the dataset's root, with forward slashes.
    """

    file: str | None = None
    """The file to open: a label file, an image, a recipe."""
    row: int | None = None
    """1-based line of `file`, or the 1-based index of the record inside a JSON or XML file."""
    image: str | None = None
    """The image concerned."""
    box: tuple[float, float, float, float] | None = None
    """The box concerned: xyxy pixels of the decoded image."""
    class_name: str | None = None
    split: str | None = None
    layer: str | None = None
    """Dotted module name."""
    step: int | None = None
    """0-based optimizer step."""

    def __str__(self) -> str:
        where = self.file or self.image or ""
        if where and self.row is not None:
            where += f":{self.row}"
        named = [
            f"{label} {value}"
            for label, value in (
                ("layer", self.layer),
                ("step", self.step),
                ("class", self.class_name),
                ("split", self.split),
            )
            if value is not None
        ]
        if self.image and self.file and self.image != self.file:
            named.insert(0, self.image)
        return " ".join(([where] if where else []) + named)

    def meets(self, other: "Place") -> bool:
        """Whether both could be the same record: where both name an image, layer, class or split, it is the same."""
        return all(
            getattr(self, name) is None or getattr(other, name) is None or getattr(self, name) == getattr(other, name)
            for name in ("image", "layer", "class_name", "split")
        )

    def to_dict(self) -> dict[str, Any]:
        """Only the fields that are set."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
