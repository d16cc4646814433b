"""`rewrite`: the fixes that findings about a network name, made in a copy of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from snellen.errors import UseError
from snellen.findings.finding import Finding

if TYPE_CHECKING:
    from torch import nn

NEEDS_PAIRS = ("drop-bias-before-norm", "fuse-batchnorm")
NAMES = (*NEEDS_PAIRS, "batchnorm-to-groupnorm", "batchnorm-to-syncbatchnorm")
"""The rewrites, as a finding's fix and the caller name them. The first two keep the network's function."""


def rewrite(model: "nn.Module", what: "Iterable[Finding | str]", *, inputs: Any = (1, 3, 224, 224)) -> "nn.Module":
    """A copy of `model` with the given rewrites made; `model` stays as it is.

    Args:
        model: The network.
        what: Findings whose fix names a rewrite (others are refused), or names of `NAMES`, which then apply to every
            place in the network where they can be made.
        inputs: What `snellen.network.examine` takes; only for names that have to know which layer feeds which.

    Raises:
        UseError: An unknown name, a finding without a rewrite, or a name that finds no place.
    """
    from snellen.network.examine import examine
    from snellen.network.pairs import norm_pairs
    from snellen.network.rewrites import (
        batchnorm_to_groupnorm,
        batchnorm_to_syncbatchnorm,
        drop_bias_before_norm,
        fuse_batchnorm,
    )
    from snellen.network.rewrites.modules import is_plain

    made: Mapping[str, Callable[..., nn.Module]] = {
        "drop-bias-before-norm": drop_bias_before_norm,
        "fuse-batchnorm": fuse_batchnorm,
        "batchnorm-to-groupnorm": batchnorm_to_groupnorm,
        "batchnorm-to-syncbatchnorm": batchnorm_to_syncbatchnorm,
    }
    new = model
    for item in [what] if isinstance(what, (str, Finding)) else what:
        edit = _edit(item)
        name = edit["op"]
        if name not in NEEDS_PAIRS:
            new = made[name](new, edit.get("layers"))
            continue
        pairs = [tuple(pair) for pair in edit.get("pairs", ())]
        if not pairs:
            pairs = [p for p in norm_pairs(examine(new, inputs)) if is_plain(new.get_submodule(p[0]))]
            if name == "drop-bias-before-norm":
                pairs = [p for p in pairs if new.get_submodule(p[0]).bias is not None]
        if not pairs:
            raise UseError(f"{name}: no plain convolution or linear layer here feeds a BatchNorm alone as it asks")
        new = made[name](new, pairs)
    return new


def _edit(item: "Finding | str") -> Mapping[str, Any]:
    if isinstance(item, Finding):
        edit = item.fix.edit if item.fix else {}
        if edit.get("op") not in NAMES:
            raise UseError(f"{item.rule or 'the finding'} names no rewrite of a network: mend it by hand")
        return edit
    if item not in NAMES:
        raise UseError(f"no rewrite is called {item!r}: expected one of {', '.join(NAMES)}")
    return {"op": item}
