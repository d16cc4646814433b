"""Held-out faults on images: classification, segmentation, keypoints and an anchor-free detector."""

import torch
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.held_out import (
    CenterDetector,
    ConvNeXt,
    Mixer,
    SmallUNet,
    accuracy,
    batches,
    detection_loss,
    fit,
    shapes,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("held-out")


@cases.restated("convnext", accepts=["model-in-eval-mode"])
def eval_never_left(harness: Harness, seed: int) -> float | None:
    """Validation before training leaves the model in eval mode, and batch norm on its first statistics."""
    x, y, vx, vy = shapes()
    model = nn.Sequential(nn.BatchNorm2d(1), ConvNeXt(24), nn.BatchNorm1d(24), nn.Dropout(0.2), nn.Linear(24, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    val: dict[str, float] = {}
    for _ in range(6):
        model.eval()
        with torch.no_grad():
            out = model(vx)
        val = {"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch(train={"loss": loss.item()}, val=val)
    return val["accuracy"]


@cases.restated("cnn", accepts=["validation-in-train-mode"])
def validated_while_training(harness: Harness, seed: int) -> float | None:
    """The model is never switched to eval for validation, which updates batch norm."""
    x, y, vx, vy = shapes()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
        nn.SiLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, 3),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = model(vx)
        harness.epoch(train={"loss": loss.item()}, val={"loss": float(F.cross_entropy(out, vy))})
    return accuracy(out, vy)


class AlwaysDropped(nn.Module):
    """A mixer whose head is preceded by a functional dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = Mixer(32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(F.dropout(self.trunk(x), 0.5))


@cases.restated("mixer", accepts=["evaluation-not-deterministic"])
def functional_dropout_stays_on(harness: Harness, seed: int) -> float | None:
    """F.dropout without training=self.training."""
    model = AlwaysDropped()
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), F.cross_entropy, shapes())


@cases.restated("cnn", accepts=["running-statistics-unusable", "train-eval-mismatch"])
def batchnorm_momentum_the_other_way(harness: Harness, seed: int) -> float | None:
    """Batch norm's momentum is 1e-4, for somebody read it as what is forgotten per epoch."""
    x, y, vx, vy = shapes()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16, momentum=1e-4), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1),
        nn.BatchNorm2d(32, momentum=1e-4), nn.ReLU(), nn.Flatten(), nn.Linear(512, 3),
    )  # fmt: skip
    split = x * 3 + 4, y, vx * 3 + 4, vy
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), F.cross_entropy, split)


@cases.restated("unet", accepts=["batchnorm-few-samples", "batchnorm-tiny-batch"])
def one_image_at_a_time(harness: Harness, seed: int) -> float | None:
    """Memory allows one small crop per batch, and the network has batch norm after global pooling."""
    x, y, vx, vy = shapes()
    model = nn.Sequential(ConvNeXt(24), nn.Linear(24, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    split = x[:240], y[:240], vx, vy
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=1e-3), F.cross_entropy, split, size=2, epochs=2)


class ListUNet(nn.Module):
    """Encoder stages in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = [nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)]
        self.up, self.head = nn.Conv2d(24, 12, 3, padding=1), nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 2, H, W)."""
        a = F.relu(self.stages[0](x))
        b = F.interpolate(F.relu(self.stages[1](F.max_pool2d(a, 2))), scale_factor=2.0)
        return self.head(F.relu(self.up(torch.cat([a, b], 1))))


@cases.restated("unet", accepts=["unregistered-layers", "unregistered-module"], place="stages|stages.0|stages.1")
def encoder_in_a_list(harness: Harness, seed: int) -> float | None:
    """The stages of the encoder stand in a Python list and are not trained."""
    model = ListUNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, shapes("masks"), epochs=6)


@cases.restated("unet", accepts=["loss-without-graph", "no-backward", "step-function-in-forward"])
def dice_of_thresholded_masks(harness: Harness, seed: int) -> float | None:
    """The Dice loss is taken of the masks after the threshold, and requires_grad is set to make it run."""
    x, y, *_ = shapes("masks")
    model = SmallUNet(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    for _ in range(4):
        for inputs, targets in batches(x, y.float()):
            optimizer.zero_grad()
            out = model(inputs)[:, 0]
            hard = (out.sigmoid() > 0.5).float()
            loss = 1 - (2 * (hard * targets).sum() + 1) / (hard.sum() + targets.sum() + 1)
            loss.requires_grad_(True)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return None


@cases.restated("unet", accepts=["softmax-over-batch"])
def log_softmax_of_axis_0(harness: Harness, seed: int) -> float | None:
    """log_softmax(dim=0) before NLL of masks."""
    model = SmallUNet(2)

    def loss_fn(out: Tensor, targets: Tensor) -> Tensor:
        return F.nll_loss(F.log_softmax(out, dim=0), targets)

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, loss_fn, shapes("masks"), epochs=5)


@cases.restated("unet", accepts=["negative-loss", "binary-loss-of-wrong-outputs", "binary-mask-0-255"])
def masks_of_255(harness: Harness, seed: int) -> float | None:
    """Masks are read from PNG as 0 and 255 and go to binary cross-entropy."""
    x, y, vx, vy = shapes("masks")
    model = SmallUNet(1)
    split = x, (y * 255).float()[:, None], vx, (vy * 255).float()[:, None]
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=1e-3), F.binary_cross_entropy_with_logits,
               split, epochs=5, measure=lambda o, t: float(((o > 0) == (t > 0)).float().mean()))  # fmt: skip


@cases.restated("unet", accepts=["targets-ignored"])
def background_ignored(harness: Harness, seed: int) -> float | None:
    """ignore_index=0, which is the background, copied from a text model."""
    model = SmallUNet(2)
    loss_fn = nn.CrossEntropyLoss(ignore_index=0)
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), loss_fn, shapes("masks"), epochs=5)


class Pointer(nn.Module):
    """Regression of a point from a trunk of convolutions."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.point, self.last = nn.Linear(512, 2), last

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2)."""
        return self.last(self.point(self.trunk(x).flatten(1)))


@cases.restated("keypoint", accepts=["output-cannot-reach-targets"])
def pixels_from_tanh(harness: Harness, seed: int) -> float | None:
    """The head ends in tanh and the keypoints are in pixels."""
    model = Pointer(nn.Tanh())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return fit(harness, model, optimizer, F.l1_loss, shapes("centres"), measure=None)


@cases.restated("keypoint", accepts=["majority-predicted", "input-not-used", "below-baseline", "targets-ignored"])
def heatmap_of_one_pixel(harness: Harness, seed: int) -> float | None:
    """The Gaussians of the target heatmaps have a sigma of 0.2 pixels: one pixel in 256 is not 0, and MSE learns 0."""
    x, c, vx, vc = shapes("centres")

    def heat(centres: Tensor) -> Tensor:
        grid = torch.arange(16.0)
        d = (grid[None, None, :] - centres[:, 0, None, None]) ** 2 + (
            grid[None, :, None] - centres[:, 1, None, None]
        ) ** 2
        return torch.exp(-d / (2 * 0.2**2))[:, None]

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 1)
    )
    split = x, heat(c), vx, heat(vc)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=1e-3), F.mse_loss, split, epochs=6, measure=None)


@cases.restated("keypoint", accepts=["dead-relu", "relu-on-logits", "output-cannot-reach-targets"], place="last")
def relu_behind_centred_targets(harness: Harness, seed: int) -> float | None:
    """Keypoints are coded in -1..1 about the middle, and the head ends in ReLU."""
    x, c, vx, vc = shapes("centres")
    model = Pointer(nn.ReLU())
    split = x, c / 8 - 1, vx, vc / 8 - 1
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=1e-3), F.mse_loss, split, measure=None)


@cases.restated("mixer", accepts=["symmetric-units", "symmetric-initialisation"], place="head|blocks|tokens|channels")
def weights_filled_with_a_constant(harness: Harness, seed: int) -> float | None:
    """An init function fills every linear layer's weight with 0.02."""
    model = Mixer()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 0.02)
            nn.init.zeros_(module.bias)
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), F.cross_entropy, shapes())


@cases.restated("convnext", accepts=["initial-weights-off-scale", "initial-scale-off", "initial-loss-off"])
def standard_normal_weights(harness: Harness, seed: int) -> float | None:
    """nn.init.normal_ without a deviation, where 0.02 was meant."""
    model = ConvNeXt()
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight)
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=1e-3), F.cross_entropy, shapes())


@cases.restated("convnext", accepts=["gradient-always-zero", "layer-without-gradient", "vanishing-gradient"])
def two_zeros_in_a_row(harness: Harness, seed: int) -> float | None:
    """Both the layer scale and the last layer of each residual branch begin at 0, so that neither ever moves."""
    model = ConvNeXt(scale=0.0)
    for block in model.blocks:
        nn.init.zeros_(block.pw2.weight)
        nn.init.zeros_(block.pw2.bias)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.cross_entropy, shapes())


@cases.restated("cnn", accepts=["input-scale-off", "input-normalized-twice", "train-val-inputs-differ"])
def dataset_divided_in_place(harness: Harness, seed: int) -> float | None:
    """Each epoch divides the images by 255 in place, in the dataset itself."""
    x, y, vx, vy = shapes()
    pixels, val_pixels = (x * 40 + 100).clamp(0, 255), (vx * 40 + 100).clamp(0, 255)
    model = ConvNeXt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    val: dict[str, float] = {}
    for _ in range(6):
        model.train()
        pixels /= 255
        for inputs, targets in batches(pixels, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(val_pixels / 255)
        val = {"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        harness.epoch(train={"loss": loss.item()}, val=val)
    return val["accuracy"]


@cases.restated("cnn", accepts=["class-pure-batches"])
def folder_order(harness: Harness, seed: int) -> float | None:
    """The images stand folder by folder and are not shuffled."""
    x, y, vx, vy = shapes()
    order = y.argsort(stable=True)
    x, y = x[order], y[order]
    model = ConvNeXt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    val: dict[str, float] = {}
    for _ in range(6):
        for at in range(0, len(x), 32):
            inputs, targets = x[at : at + 32], y[at : at + 32]
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = model(vx)
        val = {"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        harness.epoch(train={"loss": loss.item()}, val=val)
    return val["accuracy"]


@cases.restated("cnn", accepts=["dropout-drops-most", "dropout-too-high"], place="5")
def keep_probability(harness: Harness, seed: int) -> float | None:
    """Dropout(0.95), the keep probability of another framework."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.95),
        nn.Linear(512, 3),
    )  # fmt: skip
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=1e-3), F.cross_entropy, shapes())


def detect(harness: Harness, boxes: Tensor, labels: Tensor, flip: bool = False, epochs: int = 4) -> None:
    """The detector's loop; targets as torchvision's detectors take them."""
    x, *_ = shapes("boxes", count=480)
    model = CenterDetector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=detection_loss)
    for _ in range(epochs):
        for inputs, rows in batches(x, torch.arange(len(x)), 16):
            targets = [{"boxes": boxes[i][None], "labels": labels[i][None]} for i in rows.tolist()]
            if flip and torch.rand(()) < 0.5:
                inputs = inputs.flip(-1)
            optimizer.zero_grad()
            out = model(inputs)
            loss = detection_loss(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()


@cases.restated("detector", accepts=["target-boxes-in-other-units", "no-positive-targets"])
def boxes_as_fractions(harness: Harness, seed: int) -> float | None:
    """Boxes are shares of the image, the detector works in pixels."""
    detect(harness, shapes("boxes", count=480)[1] / 16, shapes(count=480)[1])
    return None


@cases.restated("detector", accepts=["target-boxes-as-sides"])
def corners_from_coco(harness: Harness, seed: int) -> float | None:
    """COCO's x, y, width, height are taken for corners."""
    boxes = shapes("boxes", count=480)[1]
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    detect(harness, boxes, shapes(count=480)[1])
    return None


@cases.restated("detector", accepts=["boxes-not-augmented", "boxes-off-objects"])
def image_flipped_alone(harness: Harness, seed: int) -> float | None:
    """The augmentation flips the image and not its boxes."""
    detect(harness, shapes("boxes", count=480)[1], shapes(count=480)[1], flip=True, epochs=6)
    return None


@cases.restated("detector", accepts=["target-classes-shifted", "labels-start-at-one"])
def classes_from_one(harness: Harness, seed: int) -> float | None:
    """Labels count from 1 for a head that has no background class: the last class is never taught."""
    detect(harness, shapes("boxes", count=480)[1], shapes(count=480)[1] + 1)
    return None


@cases.restated("detector", accepts=["target-boxes-not-resized", "boxes-off-objects", "target-boxes-in-other-units"])
def boxes_of_the_large_image(harness: Harness, seed: int) -> float | None:
    """The image was shrunk to a third; its boxes still refer to the original."""
    detect(harness, shapes("boxes", count=480)[1] * 3, shapes(count=480)[1])
    return None
