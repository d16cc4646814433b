"""Networks kept at the ends of the learning rate's cycles (Huang 2017, "Snapshot Ensembles", arXiv:1704.00109)."""

import re
from pathlib import Path
from typing import Any

from torch import nn

from snellen.training import checkpoint
from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunFolder
from snellen.training.schedules import Schedule
from snellen.training.sharding import whole_state

NAME = re.compile(r"snapshot-(\d+)\.pt")


def snapshot_files(folder: RunFolder) -> list[Path]:
    """The snapshots of a run, oldest first."""
    found = {int(m[1]): path for path in folder.last.parent.glob("snapshot-*.pt") if (m := NAME.fullmatch(path.name))}
    return [found[number] for number in sorted(found)]


def keep_snapshot(
    folder: RunFolder, recipe: Recipe, schedule: Schedule, step: int, model: nn.Module, write: bool
) -> None:
    """Write the weights of `model` where a cycle has just ended, before `step`, of the recipe's last so many cycles.

    Every process calls it, as sharded weights are gathered; the one with `write` writes.
    """
    ends = schedule.cycle_ends()
    if not recipe.snapshots or step not in ends:
        return
    number = ends.index(step) + 1
    if number <= len(ends) - recipe.snapshots:
        return
    state: dict[str, Any] = {"model": whole_state(model), "step": step}
    if write:
        checkpoint.save_atomically(state, folder.last.parent / f"snapshot-{number}.pt")
