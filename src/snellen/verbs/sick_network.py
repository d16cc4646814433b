"""A network with four planted faults, for `snellen demo --sick`."""

import torch
from torch import Tensor, nn

from snellen.data.defects import Planted

PLANTED = [
    Planted("unregistered-module", "a convolution kept in a Python list", "network: extra"),
    Planted("unused-layer", "a layer that forward never calls", "network: spare"),
    Planted("symmetric-initialisation", "a layer whose units all start alike", "network: hidden"),
    Planted(
        "softmax-before-cross-entropy", "a softmax on the head, though the loss applies its own", "network: forward"
    ),
]


class SickClassifier(nn.Module):
    """A small CNN that looks sound: images (N, 3, H, W) to probabilities (N, num_classes), which is fault four."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.task = "classification"
        self.num_classes = num_classes
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.extra = [nn.Conv2d(32, 32, 3, padding=1)]
        self.spare = nn.Linear(32, num_classes)
        self.hidden = nn.Linear(32, 64)
        nn.init.constant_(self.hidden.weight, 0.05)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities, though the loss wants logits."""
        x = self.extra[0](self.stem(x)).mean(dim=(2, 3))
        return torch.softmax(self.head(torch.relu(self.hidden(x))), dim=1)
