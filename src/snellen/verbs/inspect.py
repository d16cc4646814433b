"""`inspect`: examine a network before it is trained, alone or against a dataset."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.environment import environment
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.network.facts import NetworkFacts
from snellen.progress import Progress, silent
from snellen.result import Result
from snellen.verbs.facts_for import facts_for

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from snellen.data.facts import DataFacts


DEFAULT_CLASSES = {"classification": 1000, "detection": 80, "segmentation": 21}
"""Classes of our own networks where none are named: ImageNet's, COCO's, and VOC's with its background."""

IMAGES = 8
"""Images of the dataset over which an effective receptive field is averaged."""


@dataclass(frozen=True)
class Subject:
    """A network to examine."""

    name: str
    network: "nn.Module"
    """It may be without weights."""
    size: int
    """Side of the square input that it takes unless told otherwise."""
    inputs: Any = None
    """What a file was made with; None: a square image."""
    weighted: "Callable[[], nn.Module] | None" = None
    """Builds the same network with weights, where `network` has none."""

    def real(self) -> "nn.Module":
        """The network with weights: its own, or random ones."""
        import torch

        if self.weighted is None:
            return self.network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # The same network each time it is looked at.
            return _opened(self.weighted())


RANDOM_WEIGHTS = "effective fields are those of random weights, scales that start at or near zero taken as 1"


def _opened(network: "nn.Module") -> "nn.Module":
    """A fresh network with its branches open: many start residual branches at a scale of zero, and see nothing there
    before they are trained."""
    import torch

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            scale = parameter.dim() == 1 and not name.endswith("bias")
            if scale and float(parameter.detach().abs().max()) < 0.1 and parameter.unique().numel() == 1:
                parameter.fill_(1.0)
    return network


def inspect(
    model: "str | Path | nn.Module | ExportedProgram",
    inputs: Any = None,
    *,
    input_size: int | None = None,
    batch: int = 1,
    data: str | Path | None = None,
    num_classes: int | None = None,
    effective: bool = False,
    time: bool = False,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
) -> Result:
    """Examine `model` at one input: a module, an exported program, a name (see `load_model` and our own), or a file
    of one of them: `.onnx`, or `.pt2` as `torch.export.save` writes it.

    Names of libraries are built without weights, so that a network of any size is examined in seconds. Only the two
    measurements that are asked for run the network: `effective`, the effective receptive fields, on images of `data`
    or on noise; and `time`, the seconds of each layer on this machine. Of a name, they run it with random weights.

    `inputs` is the shape of one input without its batch, as integers (3, 640, 640), of which `batch` are taken, or any
    nest of example tensors: a tensor, a tuple of positional arguments, a dict of keyword arguments. Without it the
    input is a square image of `input_size` pixels, or what the file was made with.

    With `data`, input size, class count and anchors of a named model are those a training on it would use, and the
    rules that join network and data run too. Without it, `input_size` is 224, and `num_classes` the library's default.
    Raises UseError on an unknown name or an input size the network cannot take, or if a measurement needs weights that
    there are none of.
    """
    from snellen.network.examine import examine

    settings = settings or load_settings(Path.cwd())
    facts = facts_for(Path(data), progress=progress) if data is not None else None
    subject = subject_of(model, facts, input_size=input_size, batch=batch, num_classes=num_classes)
    network = subject.network
    if inputs is None:
        inputs = (batch, 3, subject.size, subject.size) if subject.inputs is None else subject.inputs
    elif isinstance(inputs, (list, tuple)) and inputs and all(type(n) is int for n in inputs):
        inputs = (batch, *inputs)
    found = examine(network, inputs, name=subject.name, task=str(getattr(network, "task", "")))
    if effective or time:
        found = _measured(found, subject.real(), inputs, facts, effective=effective, time=time)
        if effective and subject.weighted is not None:
            found = replace(found, assumptions=[*(found.assumptions or []), RANDOM_WEIGHTS])
    rules = [rule for rule in chosen_rules(settings.values) if NetworkFacts in rule.needs().values()]
    subjects = [f for f in (facts, found) if f is not None]
    verdict = judge(subjects, settings, rules=rules, data_root=Path(facts.root) if facts else None)
    return Result(subject=subject.name, verdict=verdict, data=facts, network=found, environment=environment())


def subject_of(
    model: "str | Path | nn.Module | ExportedProgram", facts: "DataFacts | None" = None, *,
    input_size: int | None = None, batch: int = 1, num_classes: int | None = None,
) -> Subject:  # fmt: skip
    """The network that `model` stands for; see `inspect`."""
    from torch import nn

    from snellen.models.registry import OWN_CLASSIFIERS, create, known
    from snellen.network.files import is_network_file, load_network
    from snellen.network.program import program_module
    from snellen.network.resolve import load_model
    from snellen.training.prepare import build_model
    from snellen.training.recipe_defaults import default_recipe

    size = input_size or 224
    if isinstance(model, Path) or (isinstance(model, str) and is_network_file(model)):
        network, told = load_network(Path(model), batch=batch, size=size)
        return Subject(Path(model).name, network, size, told)
    if not isinstance(model, str):
        return Subject(type(model).__name__, model if isinstance(model, nn.Module) else program_module(model), size)
    if facts is not None:
        recipe = default_recipe(facts, model=model, **({"image_size": input_size} if input_size else {}))
        return Subject(model, build_model(facts, recipe), recipe.image_size)
    own = [task for task in ("detection", "segmentation") if known(model, task)]
    if model in OWN_CLASSIFIERS or own:
        task = own[0] if own else "classification"
        classes = num_classes or DEFAULT_CLASSES[task]
        return Subject(model, create(model, task=task, num_classes=classes, image_size=size), size)
    name = model
    weightless = load_model(name, num_classes=num_classes)
    return Subject(name, weightless, size, None, lambda: load_model(name, num_classes=num_classes, initialised=True))


def _measured(
    found: NetworkFacts, network: "nn.Module", inputs: Any, facts: "DataFacts | None", *, effective: bool, time: bool
) -> NetworkFacts:
    if effective:
        from snellen.network.effective_field import with_effective_levels

        images = None if facts is None else _images(facts, found.input_shape)
        found = with_effective_levels(found, network, images)
    if time:
        import torch

        from snellen.network.latency import with_times

        shaped = isinstance(inputs, (list, tuple)) and all(type(n) is int for n in inputs)
        found = with_times(found, network, torch.empty(tuple(inputs), device="meta") if shaped else inputs)
    return found


def _images(data: "DataFacts", shape: list[int]) -> "Tensor | None":
    """Up to `IMAGES` of the dataset, NCHW of `shape`'s size, normalised as ImageNet's; None when none can be read."""
    import torch

    from snellen.data.decoding import UNREADABLE, decode
    from snellen.report.thumbnails import inside
    from snellen.training.pixels import fit_frame
    from snellen.training.recipe import IMAGENET_MEAN, IMAGENET_STD

    height, width = shape[-2:]
    frames: list[Tensor] = []
    for image in data.images["image"]:
        try:
            pixels = decode(inside(Path(data.root), image))
        except UNREADABLE:
            continue  # The examination of the data tells of it; any other image serves.
        frame, _, _ = fit_frame(pixels, max(height, width), keep_ratio=data.task != "classification")
        frames.append(frame[:, :height, :width])
        if len(frames) == IMAGES:
            break
    if not frames or shape[1] != 3:
        return None
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.stack(frames).float() / 255 - mean) / std
