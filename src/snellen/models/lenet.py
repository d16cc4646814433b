"""LeNet-5: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", sec. II.B and fig. 2.

Two departures, both usual: the third layer sees all maps of the second (table I connects some), and the outputs are
logits under cross-entropy (the paper measures distances to drawn codes).
"""

import torch
from torch import Tensor, nn


class LeNet(nn.Module):
    """Convolution 5 x 5 and mean pooling twice, then three full layers, tanh between them."""

    task = "classification"

    def __init__(self, num_classes: int, image_size: int = 32) -> None:
        super().__init__()
        self.num_classes = num_classes
        side = ((image_size - 4) // 2 - 4) // 2
        if side < 1:
            raise ValueError(f"LeNet needs at least 16 px, got {image_size}")
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * side * side, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW of `image_size` -> logits (N, num_classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits
