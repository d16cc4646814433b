"""Detectors against torchvision's, same weights, same images: `python benchmarks/detector_steps.py [--networks ...]`.

Each network is trained a step, and run on images with suppression, in turn with torchvision's in one process, so that
a noisy machine hits both; on one thread the process's own time is the cost, and other programs on the machine do not
enter it. Printed are the medians and the median, best and worst ratio of neighbouring steps. Ours gets what our trainer
gives it (a batch, normalised, channels_last), torchvision's what its reference scripts give it (a list of images, which
it normalises and resizes itself); both start from float images in 0..1 of the network's own size.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor

from snellen.models import create
from snellen.models.detection import Target

CLASSES = 90
OBJECTS = 8
"""An image, about as many as COCO's have."""
NETWORKS: dict[str, tuple[int, int]] = {
    "ssdlite320_mobilenet_v3_large": (320, 4),
    "ssd300_vgg16": (300, 2),
    "retinanet_resnet50_fpn": (320, 2),
    "fcos_resnet50_fpn": (320, 2),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 4),
    "fasterrcnn_mobilenet_v3_large_fpn": (480, 2),
    "fasterrcnn_resnet50_fpn": (320, 2),
    "maskrcnn_resnet50_fpn": (320, 2),
}
"""Name -> side of the input, images in a batch."""
SCORE_SPREAD = 1.5
"""Standard deviation given to the class scores about a level that a few in a hundred reach, as in a trained network."""


def theirs_of(name: str, size: int) -> Any:
    """Torchvision's network, for images of one size, with scores as scattered as a trained one's."""
    net: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    if net.transform.fixed_size is None:
        net.transform.min_size, net.transform.max_size = (size,), size
    return net


def scene(size: int, batch: int) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Images in 0..1, and boxes of 5 to 35 % of the side with torchvision's labels, which count from 1."""
    images = torch.rand(batch, 3, size, size)
    targets = []
    for _ in range(batch):
        corner = torch.rand(OBJECTS, 2) * size * 0.65
        boxes = torch.cat([corner, corner + size * (0.05 + 0.3 * torch.rand(OBJECTS, 2))], 1)
        x, y = torch.arange(size)[None, None, :], torch.arange(size)[None, :, None]
        left, top, right, bottom = boxes.view(OBJECTS, 4, 1, 1).unbind(1)
        masks = ((x >= left) & (x <= right) & (y >= top) & (y <= bottom)).to(torch.uint8)
        targets.append({"boxes": boxes, "labels": torch.randint(1, CLASSES + 1, (OBJECTS,)), "masks": masks})
    return images, targets


def spread_scores(model: Any, images: Tensor) -> None:
    """Set the one-stage heads' class layers so that scores scatter by `SCORE_SPREAD` about a low level."""
    layers = [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
        and "classification_head" in name
        and layer.out_channels % (CLASSES + 1) == 0
    ]
    seen: dict[torch.nn.Module, float] = {}
    hooks = [layer.register_forward_hook(lambda m, _, out: seen.update({m: float(out.std())})) for layer in layers]
    softmax = type(model).__name__ == "SSD"
    with torch.no_grad():
        model(list(images))
        for layer in layers:
            layer.weight.mul_(SCORE_SPREAD / max(seen[layer], 1e-6))
            layer.bias.fill_(0.0 if softmax else -6.0)
            if softmax:
                layer.bias.view(-1, CLASSES + 1)[:, 0] = 8.0  # background
    for hook in hooks:
        hook.remove()


def spread_regions(model: Any, images: Tensor) -> None:
    """The same for two-stage networks: scores of regions, and of classes with background before them."""
    layers = [model.rpn.head.cls_logits, model.roi_heads.box_predictor.cls_score]
    seen: dict[torch.nn.Module, float] = {}
    with torch.no_grad():
        for layer, background in zip(layers, (None, 4.0), strict=True):
            hook = layer.register_forward_hook(lambda m, _, out: seen.update({m: float(out.std())}))
            model(list(images))
            hook.remove()
            layer.weight.mul_(SCORE_SPREAD / max(seen[layer], 1e-6))
            layer.bias.zero_()
            if background is not None:
                layer.bias[0] = background


def pair(name: str) -> tuple[dict[str, Callable[[], None]], dict[str, Callable[[], None]]]:
    """Training step and inference, of ours and of theirs."""
    size, batch = NETWORKS[name]
    torch.manual_seed(0)
    theirs = theirs_of(name, size)
    ours: Any = create(name, task="detection", num_classes=CLASSES, image_size=size)
    images, theirs_targets = scene(size, batch)
    if hasattr(theirs, "head"):
        spread_scores(theirs.eval(), images)
    else:
        spread_regions(theirs.eval(), images)
    ours.load_state_dict(theirs.state_dict())
    ours.to(memory_format=torch.channels_last)
    targets = [Target(t["boxes"], t["labels"] - 1, t["masks"].bool()) for t in theirs_targets]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (theirs.transform.image_mean, theirs.transform.image_std))
    optimizers = [torch.optim.SGD(m.parameters(), lr=1e-5, momentum=0.9) for m in (ours, theirs)]
    heads = theirs.roi_heads if hasattr(theirs, "roi_heads") else theirs
    thresholds = {"min_score": heads.score_thresh, "nms_iou": heads.nms_thresh, "limit": heads.detections_per_img}

    def batched() -> Tensor:
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def ours_step() -> None:
        outputs = ours(batched(), targets) if ours.needs_targets else ours(batched())
        loss = torch.stack([t.total / t.weight.clamp(min=1) for t in ours.loss(outputs, targets).values()]).sum()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()

    def theirs_step() -> None:
        terms = theirs(list(images), [dict(t) for t in theirs_targets])
        optimizers[1].zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizers[1].step()

    @torch.inference_mode()
    def ours_run() -> None:
        ours.detect(ours(batched()), **thresholds)

    @torch.inference_mode()
    def theirs_run() -> None:
        theirs(list(images))

    def ready(function: Callable[[], None], model: Any, train: bool) -> Callable[[], None]:
        def call() -> None:
            model.train(train)
            function()

        return call

    training = {"ours": ready(ours_step, ours, True), "theirs": ready(theirs_step, theirs, True)}
    inference = {"ours": ready(ours_run, ours, False), "theirs": ready(theirs_run, theirs, False)}
    return training, inference


def measure(name: str, kind: str, functions: dict[str, Callable[[], None]], rounds: int) -> None:
    """Print the cost of both, and the ratio."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {who: [] for who in functions}
    for turn in range(rounds + 1):
        for who, function in functions.items():
            begin = clock()
            function()
            if turn:  # the first warms up
                taken[who].append(clock() - begin)
    ratios = [a / b for a, b in zip(taken["ours"], taken["theirs"], strict=True)]
    images = NETWORKS[name][1]
    ours, theirs = (statistics.median(taken[who]) * 1e3 / images for who in ("ours", "theirs"))
    print(
        f"{name:32} {kind:9} ours {ours:8.1f} ms/image, torchvision {theirs:8.1f}, "
        f"ratio {statistics.median(ratios):.3f} (best {min(ratios):.3f}, worst {max(ratios):.3f})",
        flush=True,
    )


def main() -> None:
    """Measure the networks asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.networks:
        training, inference = pair(name)
        measure(name, "inference", inference, options.rounds)
        measure(name, "step", training, options.rounds)


if __name__ == "__main__":
    main()
