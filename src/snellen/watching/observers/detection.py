"""What a detector is taught, and what it answers: boxes and ids of its targets, its predictions, and its positives.

Targets are understood as torchvision has them (a list with one {"boxes": (M, 4) xyxy, "labels": (M,)} per image), as
objects with the same attributes, as a list of boxes (M, 4) xyxy per image, as padded rows (N, M, 5), or as rows (image,
class, x, y, w, h) of shape (M, 6). Four numbers an image, (N, 4), are only asked whether they are corners, and whether
the answers to them are.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import Optimizer

from snellen.watching.models import roots
from snellen.watching.observers.detection_measures import Heard, measures
from snellen.watching.observers.observer import Batch, Context

KEPT = 400
"""Batches of each phase whose targets or predictions are kept."""
PICTURES = 128
"""Images of which a small grey copy is kept, to hold boxes against."""
SIDE = 64
"""Longest side of the copy."""
LABELS = ("labels", "class_labels", "classes", "category_ids")
SCORES = re.compile(r"cls|class|score|logit", re.IGNORECASE)
MAPS = re.compile(r"cls|class|heat", re.IGNORECASE)
ANCHORS = re.compile(r"anchor|default_?box|prior", re.IGNORECASE)
THRESHOLDS = ("score_thresh", "score_threshold", "conf_thres", "min_score")
NAMES = ("class_names", "names", "CLASSES", "categories")


class DetectionObserver:
    """Keeps the boxes of a run; see `detection_measures` for what becomes of them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handles: list[Any] = []
        self._heard = Heard()
        self._positives: list[Tensor] = []
        self._anchors: list[Tensor] = []
        self._tops: list[Tensor] = []
        self._pullable: torch.device | None = None
        self._pictures = 0
        self._kept = {"training": 0, "validation": 0}
        self._talks_boxes = True

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Hooks on the model, on what gives anchors, and on the layers that give class scores."""
        for _, root in roots(model):
            self._about(root)
            self._handles.append(root.register_forward_hook(self._context.hook("detection", self._after)))
            for name, module in root.named_modules():
                if ANCHORS.search(type(module).__name__):
                    hook = self._context.hook("detection", self._after_anchors)
                    self._handles.append(module.register_forward_hook(hook))
                elif isinstance(module, nn.Conv2d | nn.Linear) and SCORES.search(name):
                    self._handles.append(
                        module.register_forward_hook(self._context.hook("detection", self._after_scores))
                    )

    def _about(self, root: nn.Module) -> None:
        about = self._heard.about
        for name, module in [("", root), *((n, m) for n, m in root.named_modules() if n)]:
            for key in THRESHOLDS:
                value = getattr(module, key, None)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    about.setdefault("threshold", [float(value), f"{name}.{key}".strip(".")])
            classes = getattr(module, "num_classes", None)
            if isinstance(classes, int) and not isinstance(classes, bool):
                about.setdefault("classes", [classes, f"{name}.num_classes".strip("."), False])
            # torchvision: two-stage heads and SSD give class 0 to the background, one-stage focal heads do not.
            kind = type(module).__name__
            if kind == "FastRCNNPredictor" and isinstance(getattr(module, "cls_score", None), nn.Linear):
                about["classes"] = [module.cls_score.out_features, f"{name}.cls_score", True]
            elif kind.startswith("SSD") and isinstance(getattr(module, "num_columns", None), int):
                about.setdefault("classes", [module.num_columns, name, True])
            for key in NAMES:
                names = getattr(module, key, None)
                if isinstance(names, str | list | tuple) and len(names) and all(isinstance(n, str) for n in names):
                    about.setdefault("names", [list(names), isinstance(names, str)])

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not torch.is_grad_enabled() or not self._talks_boxes:
            return
        boxes, _, _ = _raw(output)
        if boxes is not None and boxes.requires_grad:
            self._pullable = boxes.device
            boxes.register_hook(self._context.hook("detection", self._arrived))

    def _arrived(self, gradient: Tensor) -> None:
        """A prediction that no object was matched to gets no gradient from a box loss."""
        if len(self._positives) < KEPT:
            self._positives.append((gradient.detach() != 0).any(-1).sum())

    def _after_anchors(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not self._anchors and isinstance(output, list | tuple) and output and isinstance(output[0], Tensor):
            self._anchors = [a.detach().clone() for a in output if a.dim() == 2 and a.shape[1] == 4][:1]

    def _after_scores(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if torch.is_grad_enabled() or not isinstance(output, Tensor) or len(self._tops) >= KEPT or not output.numel():
            return
        about = self._heard.about.get("classes")
        scores = output.detach().float()
        if about and about[2] and about[0] and about[0] > 1:  # Softmax, with background first.
            if scores.dim() == 4:
                if scores.shape[1] % about[0]:
                    return
                scores = scores.unflatten(1, (-1, about[0])).movedim(2, -1)
            if scores.shape[-1] == about[0]:
                self._tops.append(scores.softmax(-1)[..., 1:].max())
        else:
            self._tops.append(scores.max().sigmoid())

    def batch(self, batch: Batch) -> None:
        """Targets and predictions of one batch."""
        positives, self._positives = self._positives, []
        if batch.phase != "training":
            positives = []
        sizes = _sizes(batch.inputs)
        record: dict[str, Any] = {"step": batch.step, "phase": batch.phase, "sizes": sizes}
        # Given to a model in training as torchvision wants it, the targets are part of the inputs.
        found = _targets(batch.targets, len(sizes)) or _targets(batch.inputs, len(sizes))
        if found is None and batch.phase == "training" and batch.targets is not None:
            self._talks_boxes = False
        self._predicted(batch, record)
        if found is None and sizes and _only_boxes(batch.targets) and len(batch.targets) == len(sizes):
            record["single"] = batch.targets.detach().float()
            if _only_boxes(batch.outputs) and batch.outputs.shape == batch.targets.shape:
                record["single_given"] = batch.outputs.detach().float()
        if self._kept[batch.phase] >= KEPT or not (found or {"scores", "top", "single"} & record.keys()):
            return
        if found:
            self._talks_boxes = True
            boxes, labels, record["kind"] = found
            record["counts"] = [len(b) for b in boxes]
            record["boxes"] = torch.cat([b.detach().reshape(-1, b.shape[-1]).float() for b in boxes])
            if all(y is not None for y in labels):
                record["labels"] = torch.cat([y.detach().reshape(-1) for y in labels if y is not None])
            if positives:
                record["positives"] = torch.stack([p.to(positives[0].device) for p in positives]).sum()
            elif self._pullable is not None:  # Boxes were predicted, and nothing of the loss reached them.
                record["positives"] = torch.zeros((), device=self._pullable)
            self._keep_pictures(batch, record)
            if self._anchors:
                record["anchors"], self._anchors = self._anchors[0], []
        if self._tops:
            record["top"] = torch.stack([t.to(self._tops[0].device) for t in self._tops]).max()
            self._tops = []
        self._kept[batch.phase] += 1
        self._heard.batches.append(record)

    def _predicted(self, batch: Batch, record: dict[str, Any]) -> None:
        outputs = batch.outputs
        if isinstance(outputs, Mapping) and batch.phase == "training":
            terms = {k: v for k, v in outputs.items() if isinstance(v, Tensor) and v.dim() == 0}
            if len(terms) > 1 and len(terms) == len(outputs):
                record["term_names"] = list(terms)
                record["terms"] = torch.stack([v.detach().float() for v in terms.values()])
        if _is_list_of_boxes(outputs) and batch.phase == "validation" and all("scores" in o for o in outputs):
            record["predicted_counts"] = [len(o["boxes"]) for o in outputs]
            record["scores"] = torch.cat([o["scores"].detach().reshape(-1).float() for o in outputs])
            record["predicted_boxes"] = torch.cat([o["boxes"].detach().reshape(-1, 4).float() for o in outputs])
            if all("labels" in o for o in outputs):
                record["predicted_labels"] = torch.cat([o["labels"].detach().reshape(-1) for o in outputs])
            return
        maps = _class_maps(outputs)
        if maps is not None:
            record["maps"] = maps.detach().float().amax((0, 2, 3))
        boxes, logits, corners = _raw(outputs)
        if boxes is not None:
            if corners:
                record["raw_reach"] = boxes.detach().float().abs().amax()
            if logits is not None:
                record["outputs"] = int(logits.shape[-1])
                if batch.phase == "validation":
                    record["top"] = logits.detach().float().amax().sigmoid()
        anchors, levels = getattr(outputs, "anchors", None), getattr(outputs, "level_sizes", None)
        if isinstance(anchors, Tensor) and anchors.dim() == 2 and not any("anchors" in b for b in self._heard.batches):
            record["anchors"] = anchors.detach().clone()
            record["levels"] = list(levels) if levels is not None else None

    def _keep_pictures(self, batch: Batch, record: dict[str, Any]) -> None:
        images = list(_images(batch.inputs))
        if batch.phase != "training" or self._pictures >= PICTURES or len(images) != len(record["counts"]):
            return
        self._pictures += len(images)
        kept = []
        for image in images:
            grey = image.detach().float().mean(0)[None, None]
            share = SIDE / max(grey.shape[-2:])
            if share < 1:
                size = (max(round(grey.shape[-2] * share), 4), max(round(grey.shape[-1] * share), 4))
                grey = F.adaptive_avg_pool2d(grey, size)
            kept.append(grey[0, 0].clone())
        record["pictures"] = kept

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def facts(self) -> Mapping[str, Any]:
        """Rows of `measures`."""
        return {"measures": measures(self._heard)}

    def state_dict(self) -> dict[str, Any]:
        """Targets, predictions and small images so far, on the CPU."""
        return {
            "about": dict(self._heard.about),
            "batches": [{k: _cpu(v) for k, v in b.items()} for b in self._heard.batches],
            "kept": dict(self._kept),
            "pictures": self._pictures,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._heard = Heard(dict(state["about"]), [dict(b) for b in state["batches"]])
        self._kept, self._pictures = dict(state["kept"]), state["pictures"]


def _cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    return [_cpu(v) for v in value] if isinstance(value, list) else value


def _images(inputs: Any) -> Iterator[Tensor]:
    """Each image (C, H, W) of a batch or a list of images."""
    if isinstance(inputs, Tensor) and inputs.dim() == 4:
        yield from inputs.unbind(0)
    elif isinstance(inputs, list | tuple):
        if inputs and all(isinstance(x, Tensor) and x.dim() == 3 for x in inputs):
            yield from inputs
        elif inputs:
            yield from _images(inputs[0])


def _sizes(inputs: Any) -> list[list[int]]:
    return [[int(x.shape[-2]), int(x.shape[-1])] for x in _images(inputs)]


def _is_list_of_boxes(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(t, Mapping) and isinstance(t.get("boxes"), Tensor) for t in value)
    )


def _has_boxes(value: Any) -> bool:
    return isinstance(getattr(value, "boxes", None), Tensor)


def _only_boxes(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 2 and value.shape[1] == 4


def _targets(targets: Any, images: int) -> tuple[list[Tensor], list[Tensor | None], str] | None:
    """Boxes and class ids of each image, and how they are laid out: xyxy or rows; None where it is no detection."""
    if _is_list_of_boxes(targets):
        boxes = [t["boxes"] for t in targets]
        labels = [next((t[k] for k in LABELS if isinstance(t.get(k), Tensor)), None) for t in targets]
    elif isinstance(targets, list | tuple) and images and len(targets) == images and all(map(_only_boxes, targets)):
        boxes, labels = list(targets), [None] * images
    elif isinstance(targets, list | tuple) and targets and all(_has_boxes(t) for t in targets):
        boxes, labels = [t.boxes for t in targets], [getattr(t, "labels", None) for t in targets]
    elif isinstance(targets, Tensor) and targets.is_floating_point() and images:
        # Ids of images and classes are whole, boxes have sides; six numbers to be regressed and six labels do not.
        if targets.dim() == 3 and targets.shape[0] == images and targets.shape[2] == 5:
            if _whole(targets[..., 0]) or _whole(targets[..., 4]):
                return list(targets.unbind(0)), [None] * images, "padded"
        elif targets.dim() == 2 and targets.shape[1] == 6 and _whole(targets[:, :2]) and _sized(targets):
            return [targets], [None], "rows"
        return None
    elif isinstance(targets, list | tuple):
        return next((f for f in (_targets(t, images) for t in targets if not isinstance(t, Tensor)) if f), None)
    else:
        return None
    if any(b.dim() != 2 or b.shape[1] != 4 for b in boxes if b.numel()):
        return None
    return [b.reshape(-1, 4) for b in boxes], labels, "xyxy"


def _sized(rows: Tensor) -> bool:
    return bool((rows[:, 4:] > 0).all(1).float().mean() >= 0.5)


def _whole(values: Tensor) -> bool:
    return bool((values == values.round()).all())


def _class_maps(outputs: Any) -> Tensor | None:
    """The one map (N, C, H, W) of heat or class scores in a mapping of outputs, where it has several channels."""
    if not isinstance(outputs, Mapping):
        return None
    found = [v for k, v in outputs.items() if MAPS.search(str(k)) and isinstance(v, Tensor) and v.dim() == 4]
    return found[0] if len(found) == 1 and found[0].shape[1] > 2 else None


def _raw(outputs: Any) -> tuple[Tensor | None, Tensor | None, bool]:
    """Predicted boxes (N, A, 4) and class scores (N, A, K) before any is dropped; whether the former are in pixels, or
    shares of the image, rather than offsets."""
    if isinstance(outputs, Mapping):
        parts = {str(k): v for k, v in outputs.items()}
    elif hasattr(outputs, "__dict__") and not isinstance(outputs, Tensor | nn.Module):
        parts = dict(vars(outputs))
    else:
        return None, None, False
    flat = {k: v for k, v in parts.items() if isinstance(v, Tensor) and v.dim() == 3 and v.is_floating_point()}
    name = next((k for k, v in flat.items() if v.shape[2] == 4 and re.search("box|offset|reg", k)), None)
    if name is None:
        return None, None, False
    logits = next((v for k, v in flat.items() if k != name and SCORES.search(k)), None)
    return flat[name], logits, "box" in name
