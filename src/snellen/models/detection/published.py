"""The weights torchvision published for its detectors, brought into the same networks here."""

from collections.abc import Sequence

import torchvision
from torch import nn


def load_published(model: nn.Module, name: str, heads: Sequence[str]) -> dict[str, object]:
    """Load torchvision's default weights of network `name`; asks the network for them, or a filled cache.

    With another number of classes than the published network's, the layers that give class scores keep their own start.

    Args:
        model: A network with torchvision's names of the parameters.
        name: As `torchvision.models.get_model` takes it.
        heads: Beginnings of the names of the parameters whose shapes depend on the classes.

    Returns:
        What torchvision says of the weights: "categories", background first, and scores.

    Raises:
        RuntimeError: The weights are another network's.
        OSError: They are out of reach.
    """
    weights = torchvision.models.get_model_weights(name)["DEFAULT"]
    state = dict(weights.get_state_dict(progress=False, check_hash=True))
    own = model.state_dict()
    for key in [k for k in state if k.startswith(tuple(heads)) and k in own and state[k].shape != own[k].shape]:
        del state[key]
    missing, unexpected = model.load_state_dict(state, strict=False)
    # Frozen norms, which some were trained with, count no batches.
    missing = [k for k in missing if not k.startswith(tuple(heads)) and not k.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise RuntimeError(f"the weights of {name} do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return dict(weights.meta)
