"""Networks by name, built without weights."""

import difflib
from typing import Any

import torch
from torch import nn

from snellen.network.shadow import ExamineError


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
    try:
        with torch.device("meta"):
            if name in ours or (ours and timm.is_model(name)):
                return _module(timm.create_model(name, pretrained=False, **extra))
            if name in theirs:
                if name in ("googlenet", "inception_v3"):
                    extra["init_weights"] = False  # Slow, and without effect on the meta device.
                # Detectors would otherwise fetch a pretrained backbone.
                builder = torchvision.models.get_model_builder(name)
                backbone = {"weights_backbone": None} if "weights_backbone" in builder.__annotations__ else {}
                return _module(torchvision.models.get_model(name, weights=None, **extra, **backbone))
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExamineError(f"{spec} cannot be built: {text}") from error
    near = difflib.get_close_matches(name, [*ours, *theirs], 1)
    raise ExamineError(f"no network is called {spec!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _module(built: Any) -> nn.Module:
    if not isinstance(built, nn.Module):
        raise TypeError("it is not a network")
    return built
