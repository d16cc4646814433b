"""The memory of a training step, and the largest batch that a card holds."""

import re
from math import prod
from typing import TYPE_CHECKING

from snellen.errors import UseError

if TYPE_CHECKING:
    from snellen.network.facts import NetworkFacts

OPTIMIZER_STATE = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adagrad": 1, "adam": 2, "adamw": 2, "nadam": 2}
"""Floats of state per trainable parameter."""

GIB = 1 << 30

CARDS = {
    "gtx-1080-ti": 11, "rtx-2080-ti": 11, "rtx-3060": 12, "rtx-3080": 10, "rtx-3090": 24, "rtx-4070": 12,
    "rtx-4080": 16, "rtx-4090": 24, "rtx-5090": 32, "p100": 16, "t4": 16, "v100-16": 16, "v100-32": 32, "a10": 24,
    "a30": 24, "a40": 48, "a100-40": 40, "a100-80": 80, "l4": 24, "l40s": 48, "h100": 80, "h200": 141, "b200": 180,
}  # fmt: skip
"""Memory in GiB as the maker's data sheet states it (nvidia.com: GeForce specifications; data sheets of the P100, T4,
V100, A10, A30, A40, A100, L4, L40S, H100 SXM, H200 and HGX B200)."""

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": GIB, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def card_bytes(text: str) -> int:
    """Bytes of a card, told by name ("rtx-4090", "RTX 4090") or by size ("24GiB", "80 GB").

    Raises UseError on any other text.
    """
    name = text.strip().lower().replace(" ", "-").replace("_", "-")
    if name in CARDS:
        return CARDS[name] * GIB
    size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if size is None or size[2] not in _UNITS:
        raise UseError(f"card {text!r}: write a size such as 24GiB, or one of {', '.join(CARDS)}")
    return int(float(size[1]) * _UNITS[size[2]])


def training_memory(facts: "NetworkFacts", batch_size: int, optimizer: str = "adamw", amp: bool = False) -> int:
    """Bytes that a training step holds at the start of backward.

    Weights and their gradients, the optimizer's state, and the activations saved for `batch_size` images of the
    examined size; with `amp` activations are half, weights and state stay float32. Workspace of kernels, and what the
    driver keeps for itself, are not in it.

    Raises:
        ValueError: Unknown optimizer, or a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: expected at least 1")
    fixed, per_image = _parts(facts, optimizer, amp)
    return fixed + per_image * batch_size


def largest_batch(facts: "NetworkFacts", memory: int, optimizer: str = "adamw", amp: bool = False) -> int:
    """Images of the examined size with which `training_memory` stays within `memory` bytes; 0 when not one does.

    Raises ValueError on an unknown optimizer.
    """
    fixed, per_image = _parts(facts, optimizer, amp)
    return max(0, (memory - fixed) // max(per_image, 1))


def _parts(facts: "NetworkFacts", optimizer: str, amp: bool) -> tuple[int, int]:
    """Bytes that do not depend on the batch, and bytes per image."""
    if optimizer not in OPTIMIZER_STATE:
        raise ValueError(f"optimizer {optimizer!r}: expected one of {', '.join(OPTIMIZER_STATE)}")
    learnt = 4 * facts.trainable_params
    activations = facts.training_bytes_per_image // (2 if amp else 1)
    image = 4 * prod(facts.input_shape[1:])
    return facts.weight_bytes + learnt + OPTIMIZER_STATE[optimizer] * learnt, image + activations
