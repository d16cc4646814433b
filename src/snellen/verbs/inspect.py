"""`inspect`: examine a network before it is trained, alone or against a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.environment import environment
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.findings.severity import Tier
from snellen.network.facts import NetworkFacts
from snellen.progress import Progress, silent
from snellen.result import Result

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


DEFAULT_CLASSES = {"classification": 1000, "detection": 80}
"""Classes of our own networks where none are named: ImageNet's and COCO's."""


def inspect(
    model: "str | Path | nn.Module | ExportedProgram",
    inputs: Any = None,
    *,
    input_size: int | None = None,
    batch: int = 1,
    data: str | Path | None = None,
    num_classes: int | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
) -> Result:
    """Examine `model` at one input: a module, an exported program, a name (see `load_model` and our own), or a file
    of one of them: `.onnx`, or `.pt2` as `torch.export.save` writes it.

    Names of libraries are built without weights, so that a network of any size is examined in seconds.

    `inputs` is the shape of one input without its batch, as integers (3, 640, 640), of which `batch` are taken, or any
    nest of example tensors: a tensor, a tuple of positional arguments, a dict of keyword arguments. Without it the
    input is a square image of `input_size` pixels, or what the file was made with.

    With `data`, input size, class count and anchors of a named model are those a training on it would use, and the
    rules that join network and data run too. Without it, `input_size` is 224, and `num_classes` the library's default.
    Raises UseError on an unknown name or an input size the network cannot take.
    """
    from torch import nn

    from snellen.data.examine import examine as examine_data
    from snellen.models.registry import OWN_CLASSIFIER, create, model_names
    from snellen.network.examine import examine
    from snellen.network.files import is_network_file, load_network
    from snellen.network.program import program_module
    from snellen.network.resolve import load_model
    from snellen.training.prepare import build_model
    from snellen.training.recipe import default_recipe

    settings = settings or load_settings(Path.cwd())
    facts = examine_data(Path(data), tier=Tier.HEADERS, progress=progress) if data is not None else None
    size = input_size or 224
    told = None
    if isinstance(model, Path) or (isinstance(model, str) and is_network_file(model)):
        name = Path(model).name
        network, told = load_network(Path(model), batch=batch, size=size)
    elif not isinstance(model, str):
        name, network = type(model).__name__, model if isinstance(model, nn.Module) else program_module(model)
    elif facts is not None:
        recipe = default_recipe(facts, model=model, **({"image_size": input_size} if input_size else {}))
        name, network, size = model, build_model(facts, recipe), recipe.image_size
    elif model == OWN_CLASSIFIER or model in model_names("detection"):
        task = "classification" if model == OWN_CLASSIFIER else "detection"
        classes = num_classes or DEFAULT_CLASSES[task]
        name, network = model, create(model, task=task, num_classes=classes, image_size=size)
    else:
        name, network = model, load_model(model, num_classes=num_classes)
    if inputs is None:
        inputs = (batch, 3, size, size) if told is None else told
    elif isinstance(inputs, (list, tuple)) and inputs and all(type(n) is int for n in inputs):
        inputs = (batch, *inputs)
    found = examine(network, inputs, name=name, task=str(getattr(network, "task", "")))
    rules = [rule for rule in chosen_rules(settings.values) if NetworkFacts in rule.needs().values()]
    subjects = [f for f in (facts, found) if f is not None]
    verdict = judge(subjects, settings, rules=rules, data_root=Path(facts.root) if facts else None)
    return Result(subject=name, verdict=verdict, data=facts, network=found, environment=environment())
