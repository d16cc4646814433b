"""`export`: a trained network as a file that runs without Snellen."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from snellen.errors import UseError

if TYPE_CHECKING:
    from snellen.training.export import Exported

SUFFIXES: dict[str, Literal["onnx", "pt2"]] = {".onnx": "onnx", ".pt2": "pt2"}


def export(
    run: str | Path, output: str | Path, *, format: Literal["onnx", "pt2"] | None = None, force: bool = False
) -> "Exported":
    """Write the network of the run folder `run`, with its best weights, to `output`, checked against the original.

    The file takes a batch of any size, normalised, and holds class names, input size, mean and standard deviation
    and what its outputs are, as JSON: an ONNX file's metadata `snellen`, `snellen.json` within a `.pt2`. A detector
    gives boxes and scores before suppression; one in two stages the 100 best boxes after it, with scores, classes, and
    masks where it draws them. Detectors whose regions come from selective search are no networks as a whole: none of
    them is written.

    Args:
        run: A run folder.
        output: The file; its folder is made.
        format: "onnx", or "pt2" as `torch.export.load` reads it; None: by the suffix of `output`.
        force: Replace a file that is there.

    Raises:
        UseError: No run there, a file in the way, a network that cannot be written so, or a file whose outputs
            differ from the original's; nothing is written then.
    """
    output = Path(output)
    chosen = format or SUFFIXES.get(output.suffix.lower())
    if chosen is None:
        raise UseError(f"{output}: end the name in {' or '.join(SUFFIXES)}, or give the format")
    if chosen not in SUFFIXES.values():
        raise UseError(f"no format is called {chosen!r}: {' or '.join(SUFFIXES.values())}")
    if output.is_dir():
        raise UseError(f"{output} is a folder: name a file")
    if not force and (output.exists() or output.is_symlink()):
        raise UseError(f"{output} is there already: name another file, or give --force")
    from snellen.training.export import ExportError, export_model
    from snellen.training.predict import load_run

    model, recipe, class_names = load_run(Path(run), together=False)
    letterboxed = "letterbox: the image at the top left, grey beside it"
    told = {
        "task": recipe.task,
        "model": recipe.model,
        "class_names": list(class_names),
        "image_size": recipe.image_size,
        "mean": list(recipe.mean),
        "std": list(recipe.std),
        "fit": "stretched" if recipe.task == "classification" else letterboxed,
    }
    if not any(True for _ in model.parameters()):
        raise ExportError(f"{recipe.model} is no network but features and an estimator: only networks are exported")
    try:
        return export_model(model, output, format=chosen, image_size=recipe.image_size, description=told)
    except OSError as error:
        raise UseError(f"{output}: {error.strerror or error}") from error
