"""Networks by name, built without weights."""

import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from snellen.network.shadow import ExamineError, weightless_double


def load_model(spec: str, *, num_classes: int | None = None) -> nn.Module:
    """Build `timm:NAME`, `torchvision:NAME`, or a plain name (timm first, then torchvision) on the meta device.

    Raises ExamineError for an unknown name, naming the nearest, and for one that cannot be built.
    """
    import timm
    import torchvision

    library, colon, name = spec.partition(":")
    if not colon:
        library, name = "", spec
    if library not in ("", "timm", "torchvision"):
        raise ExamineError(f"unknown library {library!r} in {spec!r}: timm or torchvision")
    ours: list[str] = timm.list_models() if library != "torchvision" else []
    theirs: list[str] = torchvision.models.list_models() if library != "timm" else []
    extra: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if library != "torchvision" and timm.is_model(name):
        return _without_weights(spec, lambda: timm.create_model(name, pretrained=False, **extra))
    if name in theirs:
        # Detectors would otherwise fetch a pretrained backbone.
        if "weights_backbone" in torchvision.models.get_model_builder(name).__annotations__:
            extra["weights_backbone"] = None
        if name in ("googlenet", "inception_v3"):
            extra["init_weights"] = False  # Slow, and without effect on the meta device.
        return _without_weights(spec, lambda: torchvision.models.get_model(name, weights=None, **extra))
    near = difflib.get_close_matches(name, [*ours, *theirs], 1)
    raise ExamineError(f"no network is called {spec!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _without_weights(spec: str, build: Callable[[], Any]) -> nn.Module:
    try:
        try:
            with torch.device("meta"):
                model = build()
        except NotImplementedError:
            # Some constructors compute their widths with tensors, which needs data: build, then drop the weights.
            model = weightless_double(build()).train()
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExamineError(f"{spec} cannot be built: {text}") from error
    if not isinstance(model, nn.Module):
        raise ExamineError(f"{spec} is not a network")
    return model
