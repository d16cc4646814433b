"""What a loop uses beside its model and optimizers and does not show: schedulers, scalers, loaders and their like."""

import gc
import weakref
from typing import Any, TypeVar

from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

T = TypeVar("T")

KINDS = (LRScheduler, GradScaler, DataLoader, DistributedSampler, DistributedDataParallel)
START, FIRST_STEP, END = "start", "first step", "end"
"""Moments at which they are looked for: before the loop, when all that it needs must stand, and after it."""


class Bystanders:
    """Finds them among the live objects, for all observers together: a look takes tens of milliseconds."""

    def __init__(self) -> None:
        self._looked: set[str] = set()
        self._known: list[weakref.ref[Any]] = []

    def alive(self, kind: type[T], moment: str) -> list[T]:
        """Those of `kind` that are known and still there, after one look at this `moment`; of several calls for one
        moment only the first looks."""
        if moment not in self._looked:
            self._looked.add(moment)
            self._look()
        return [thing for known in self._known if isinstance(thing := known(), kind)]

    def _look(self) -> None:
        wanted = {kind for base in KINDS for kind in (base, *_below(base))}
        things = gc.get_objects()
        if wanted.isdisjoint(map(type, things)):
            return
        known = {id(thing) for reference in self._known if (thing := reference()) is not None}
        self._known += [weakref.ref(t) for t in things if type(t) in wanted and id(t) not in known]


def _below(kind: type) -> set[type]:
    children: list[type] = type.__subclasses__(kind)
    return {found for child in children for found in (child, *_below(child))}
