"""What is to be known of a dataset before a network is trained on it or scored with it."""

from pathlib import Path

from snellen.data.facts import DataFacts
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent

SURE = 3
"""Declared classes from which on the values of masks are known without a look at their pixels."""


def facts_for(data: Path, task: str | None = None, progress: Progress = silent) -> DataFacts:
    """Labels and headers; of masks without a list of classes the pixels, too: what they hold is known only from them.

    `task` is what is trained, None: the dataset's own. Raises DatasetError when nothing can be read there.
    """
    from snellen.data.examine import examine

    facts = examine(data, tier=Tier.HEADERS, progress=progress)
    declared = facts.classes["declared"].fill_null(False).sum()
    if "segmentation" in (task, facts.task) and len(facts.masks) and declared < SURE:
        facts = examine(data, tier=Tier.PIXELS, progress=progress)
    return facts
