"""Networks by name, built without weights."""

import difflib
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from snellen.network.shadow import ExamineError, double_of


def load_model(spec: str, *, num_classes: int | None = None, initialised: bool = False) -> nn.Module:
    """Build a network on the meta device, or `initialised` with random weights in memory.

    `spec` is `timm:NAME`, `torchvision:NAME`, a plain name (timm first, then torchvision), `smp:DECODER/ENCODER`
    (segmentation_models_pytorch), or `transformers:TYPE`, a model type of that package such as `vit`, in the default
    configuration that the package holds.

    Raises ExamineError for an unknown name, naming the nearest, for a package that is not installed, and for a network
    that cannot be built.
    """
    library, colon, name = spec.partition(":")
    if not colon:
        library, name = "", spec
    extra: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    build = _initialised if initialised else _without_weights
    if library == "smp":
        return build(spec, _segmenter(spec, name, num_classes))
    if library == "transformers":
        return build(spec, _transformer(spec, name, num_classes))
    if library not in ("", "timm", "torchvision"):
        raise ExamineError(f"unknown library {library!r} in {spec!r}: timm, torchvision, smp or transformers")
    import timm
    import torchvision

    ours: list[str] = timm.list_models() if library != "torchvision" else []
    theirs: list[str] = torchvision.models.list_models() if library != "timm" else []
    if library != "torchvision" and timm.is_model(name):
        return build(spec, lambda: timm.create_model(name, pretrained=False, **extra))
    if name in theirs:
        # Detectors would otherwise fetch a pretrained backbone.
        if "weights_backbone" in torchvision.models.get_model_builder(name).__annotations__:
            extra["weights_backbone"] = None
        if name in ("googlenet", "inception_v3"):
            extra["init_weights"] = initialised  # Slow, and without effect on the meta device.
        return build(spec, lambda: torchvision.models.get_model(name, weights=None, **extra))
    near = difflib.get_close_matches(name, [*ours, *theirs], 1)
    raise ExamineError(f"no network is called {spec!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _segmenter(spec: str, name: str, num_classes: int | None) -> Callable[[], Any]:
    smp = _package("segmentation_models_pytorch", spec)
    decoder, _, encoder = name.partition("/")
    options: dict[str, Any] = {"encoder_weights": None, "classes": num_classes or 1}
    return lambda: smp.create_model(decoder, encoder or "resnet34", **options)


def _transformer(spec: str, name: str, num_classes: int | None) -> Callable[[], Any]:
    transformers = _package("transformers", spec)
    if name not in transformers.CONFIG_MAPPING:
        near = difflib.get_close_matches(name, list(transformers.CONFIG_MAPPING), 1)
        raise ExamineError(f"transformers has no type {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    config = transformers.CONFIG_MAPPING[name]()
    if num_classes is None:
        return lambda: transformers.AutoModel.from_config(config)
    config.num_labels = num_classes
    return lambda: transformers.AutoModelForImageClassification.from_config(config)


def _package(package: str, spec: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ExamineError(f"{spec}: {package} is not installed (pip install {package.replace('_', '-')})") from error


def _without_weights(spec: str, build: Callable[[], Any]) -> nn.Module:
    def weightless() -> Any:
        try:
            with torch.device("meta"):
                return build()
        except NotImplementedError:
            # Some constructors compute their widths with tensors, which needs data: build, then drop the weights.
            return double_of(build(), "meta").train()

    return _initialised(spec, weightless)


def _initialised(spec: str, build: Callable[[], Any]) -> nn.Module:
    try:
        model = build()
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExamineError(f"{spec} cannot be built: {text}") from error
    if not isinstance(model, nn.Module):
        raise ExamineError(f"{spec} is not a network")
    return model
