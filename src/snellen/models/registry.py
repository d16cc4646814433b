"""Which networks there are, and how one is built from its name."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torchvision
from pydantic import ValidationError
from torch import nn

from snellen.errors import UseError
from snellen.models.backbones import SmallResNetClassifier
from snellen.models.classical import FEATURE_NAMES, is_classical
from snellen.models.detection import DARKNETS, DETECTORS, builder, split_name
from snellen.models.lenet import LeNet
from snellen.models.segmentation import OWN, build_segmenter, known_segmenter, segmenter_names, split_segmenter

OWN_CLASSIFIER = "small-resnet"
OWN_CLASSIFIERS = (OWN_CLASSIFIER, "lenet")
CLASSIFIER_OPTIONS = (
    "drop_rate", "drop_path_rate", "attn_drop_rate", "proj_drop_rate", "global_pool",
    "dropout", "stochastic_depth_prob",
)  # fmt: skip
"""What may be said to classifiers of timm and, the last two, of torchvision, where they know it: how to regularise and
to pool. Nothing that names a file."""
TASKS = ("classification", "detection", "segmentation")


class ModelError(UseError):
    """No such network, or it cannot be built as asked."""


def model_names(task: str) -> list[str]:
    """Names `create` takes for `task`.

    A detector's or a segmenter's may be followed by any backbone's: `retinanet-resnet18`, `fpn-resnet18`.
    """
    if task == "detection":
        return list(DETECTORS)
    if task == "segmentation":
        return segmenter_names()
    if task == "classification":
        return [*OWN_CLASSIFIERS, *_classifiers()]
    raise ModelError(f"no network for task {task!r}: {' or '.join(TASKS)}")


def known(name: str, task: str) -> bool:
    """Whether `create` takes `name` for `task`."""
    if name in model_names(task):
        return True
    if task == "segmentation":
        return known_segmenter(name)
    if task == "classification":
        *described, _ = name.split("+")
        return is_classical(name) and all(part in FEATURE_NAMES or timm.is_model(part) for part in described)
    parts = split_name(name) if task == "detection" else None
    if parts is None:
        return False
    return parts[1] in _classifiers() or (parts[0].startswith("yolo") and parts[1] in DARKNETS)


def check_name(name: str, task: str | None = None) -> None:
    """Raise ModelError, with the nearest names, when `create` takes `name` for no task, or not for `task`."""
    tasks = TASKS if task is None else (task,)
    if any(known(name, t) for t in tasks):
        return
    parts = split_name(name) if "detection" in tasks else None
    if parts is None and "segmentation" in tasks:
        parts = split_segmenter(name)
    if parts is not None:
        near = [f"{parts[0]}-{n}" for n in difflib.get_close_matches(parts[1] or "", _classifiers(), n=3)]
    else:
        near = difflib.get_close_matches(name, [n for t in tasks for n in model_names(t)], n=3)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    kind = "" if task is None else f"{task} "
    raise ModelError(f"no {kind}network is called {name!r}{hint}")


def _classifiers() -> dict[str, None]:
    others = torchvision.models.list_models(module=torchvision.models)
    return dict.fromkeys([*timm.list_models(), *others])


def create(
    name: str,
    *,
    task: str,
    num_classes: int,
    image_size: int,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network with attributes `task` and `num_classes`.

    Args:
        name: A name of `model_names(task)`.
        task: classification, detection or segmentation.
        num_classes: Outputs; background is not a class.
        image_size: Side of the square input in pixels.
        pretrained: Load published weights of the (backbone) network; needs the network or a filled cache.
        anchors: Detection: per level, finest first, the anchors' (width, height) in input pixels; None: general ones.
        options: Of this network alone: what a detector's `build` takes beyond the above, `CLASSIFIER_OPTIONS`.

    Raises:
        ModelError: Unknown name or option, or weights out of reach.
    """
    if num_classes < 1:
        raise ModelError(f"a network needs at least one class, got num_classes={num_classes}")
    check_name(name, task)
    if pretrained and (name in (*OWN_CLASSIFIERS, *OWN) or (name in DETECTORS and "_" not in name)):
        raise ModelError(f"{name} has no published weights: name another network, or leave out pretrained")
    if is_classical(name):
        raise ModelError(f"{name} is no network but features and an estimator: `train` and `exam` take it")
    try:
        model = _build(name, task, num_classes, image_size, pretrained, anchors, dict(options or {}))
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
        raise ModelError(f"model_options of {name}: {told}") from error
    except TypeError as error:
        if not options:
            raise
        raise ModelError(f"model_options of {name}: {_first_line(error)}") from error
    except (OSError, RuntimeError, ValueError) as error:
        if not pretrained:
            raise ModelError(f"{name} cannot be built for {image_size} px: {_first_line(error)}") from error
        raise ModelError(f"the weights of {name} could not be loaded: {_first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} is not a network")
    model.task = task  # type: ignore[assignment]
    model.num_classes = num_classes  # type: ignore[assignment]
    return model


def _build(
    name: str,
    task: str,
    num_classes: int,
    image_size: int,
    pretrained: bool,
    anchors: Sequence[Sequence[Sequence[float]]] | None,
    options: dict[str, Any],
) -> nn.Module:
    if task == "detection":
        detector, backbone = split_name(name) or (name, None)
        detector_model: nn.Module = builder(detector)(
            num_classes, image_size=image_size, backbone=backbone, pretrained=pretrained, anchors=anchors, **options
        )
        return detector_model
    taken = CLASSIFIER_OPTIONS if task == "classification" and name not in OWN_CLASSIFIERS else ()
    if unknown := set(options) - set(taken):
        told = ", ".join(taken) or "none"
        raise TypeError(f"{', '.join(sorted(unknown))}: {name if name in OWN_CLASSIFIERS else task} takes {told}")
    if task == "segmentation":
        return build_segmenter(name, num_classes, image_size=image_size, pretrained=pretrained)
    if name == OWN_CLASSIFIER:
        return SmallResNetClassifier(num_classes, stem_stride=1 if image_size <= 64 else 2)
    if name == "lenet":
        return LeNet(num_classes, image_size)
    if timm.is_model(name):
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
        return model
    weights = "DEFAULT" if pretrained else None
    if weights is None:
        return _torchvision(name, num_classes, options)
    donor = torchvision.models.get_model(name, weights=weights)
    model = _torchvision(name, num_classes, options)
    own = model.state_dict()
    fitting = {k: v for k, v in donor.state_dict().items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    return model


def _torchvision(name: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    # Inception and GoogLeNet return tuples in training mode unless told not to.
    extra = {"aux_logits": False, "init_weights": True} if name in ("inception_v3", "googlenet") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **extra, **options)
    return model


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
