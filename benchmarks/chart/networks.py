"""Small networks of the usual kinds, written as people write them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def mlp(
    features: int = 64, width: int = 64, outputs: int = 10, depth: int = 2, act: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(width if i else features, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def cnn(norm: Callable[[int], nn.Module] = nn.BatchNorm2d, channels: int = 1, classes: int = 10) -> nn.Sequential:
    """Three convolutions, each with a norm and ReLU, global pooling and a linear head. Takes (N, C, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, bias=False), norm(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2, bias=False), norm(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, bias=False), norm(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes),
    )  # fmt: skip


class Residual(nn.Module):
    """Two convolutions with batch norm around a shortcut."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem and three residual blocks."""

    def __init__(self, channels: int = 3, classes: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.layer1 = Residual(width, width)
        self.layer2 = Residual(width, 2 * width, 2)
        self.layer3 = Residual(2 * width, 2 * width)
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, classes)."""
        return self.fc(self.layer3(self.layer2(self.layer1(self.stem(x)))).mean((2, 3)))


class SelfAttention(nn.Module):
    """Multi-head attention of tokens (N, T, D)."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(d // self.heads)
        if self.causal:
            future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(future, float("-inf"))
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), SelfAttention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class ViT(nn.Module):
    """Patches, a class token, positions, blocks, a head."""

    def __init__(
        self, size: int = 16, patch: int = 4, channels: int = 3, classes: int = 3, width: int = 32, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(Block(width, 4, dropout=dropout), Block(width, 4, dropout=dropout))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, size, size) -> (N, classes)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class Gpt(nn.Module):
    """A causal language model; the head shares the embedding's weight when `tied`."""

    def __init__(self, vocabulary: int = 20, length: int = 24, width: int = 32, tied: bool = False) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(Block(width, 4, causal=True), Block(width, 4, causal=True))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        if tied:
            nn.init.normal_(self.embed.weight, std=0.1)
            nn.init.normal_(self.position.weight, std=0.1)
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) ids -> (N, T, vocabulary)."""
        x = self.embed(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        return self.head(self.norm(self.blocks(x)))


class Recurrent(nn.Module):
    """A GRU or LSTM over (N, T, features) and a head on its last output."""

    def __init__(self, cell: type[nn.RNNBase] = nn.GRU, features: int = 2, width: int = 32, classes: int = 4) -> None:
        super().__init__()
        self.rnn, self.head = cell(features, width, batch_first=True), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, features) -> (N, classes)."""
        return self.head(self.rnn(x)[0][:, -1])


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """Two scales down and up again with skip connections."""

    def __init__(self, channels: int = 3, classes: int = 4, width: int = 12) -> None:
        super().__init__()
        self.down1, self.down2 = _double(channels, width), _double(width, 2 * width)
        self.bottom = _double(2 * width, 2 * width)
        self.up2, self.up1 = _double(4 * width, width), _double(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, classes, H, W)."""
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        low = self.bottom(F.max_pool2d(two, 2))
        up = self.up2(torch.cat([F.interpolate(low, scale_factor=2.0), two], 1))
        return self.head(self.up1(torch.cat([F.interpolate(up, scale_factor=2.0), one], 1)))


class Detector(nn.Module):
    """An anchor-free detector with one output level of stride 4: per cell class logits and distances to four sides."""

    stride = 4

    def __init__(self, classes: int = 3, width: int = 24) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        )  # fmt: skip
        self.classify, self.regress = nn.Conv2d(2 * width, classes, 3, 1, 1), nn.Conv2d(2 * width, 4, 3, 1, 1)
        nn.init.constant_(self.classify.bias, -math.log(0.9 / 0.1))  # Focal loss's prior of 0.1.

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> "logits" (N, A, classes), "boxes" (N, A, 4) xyxy pixels, "points" (N, A, 2) pixels."""
        features = self.backbone(x)
        n, _, h, w = features.shape
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        points = (torch.stack([xs, ys], -1).reshape(-1, 2).float() + 0.5) * self.stride
        sides = F.softplus(self.regress(features)).flatten(2).transpose(1, 2) * self.stride
        found = torch.cat([points - sides[..., :2], points + sides[..., 2:]], -1)
        logits = self.classify(features).flatten(2).transpose(1, 2)
        return {"logits": logits, "boxes": found, "points": points.expand(n, -1, -1)}


class Vae(nn.Module):
    """A variational autoencoder of 64 values in 0..1."""

    def __init__(self, features: int = 64, latent: int = 8, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, features))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, features) -> "logits" (N, features), "mean" and "log_variance" (N, latent)."""
        mean, log_variance = self.encoder(x).chunk(2, -1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return {"logits": self.decoder(z), "mean": mean, "log_variance": log_variance}
