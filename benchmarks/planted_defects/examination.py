"""Snellen's own turn: each plant alone in a fresh copy, and all of a format together in one."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.planted_defects.clean import CleanSets
from benchmarks.planted_defects.plant import LEDGER, REFUSED, Plant, place_named, sites
from benchmarks.planted_defects.plants_coco import COCO
from benchmarks.planted_defects.plants_csv import CSV
from benchmarks.planted_defects.plants_folders import FOLDERS
from benchmarks.planted_defects.plants_images import IMAGES
from benchmarks.planted_defects.plants_masks import MASKS
from benchmarks.planted_defects.plants_voc import VOC
from benchmarks.planted_defects.plants_yolo import YOLO

from snellen.data.dataset_error import DatasetError
from snellen.data.examine import examine
from snellen.findings.engine import judge
from snellen.findings.finding import Finding
from snellen.findings.place import Place
from snellen.findings.registry import all_rules
from snellen.findings.settings import LoadedSettings, Settings, chosen_rules
from snellen.findings.severity import Severity

PLANTS: tuple[Plant, ...] = tuple(
    plant for part in (IMAGES, YOLO, COCO, VOC, CSV, MASKS, FOLDERS) for plant in part.plants
)
"""All plants, in a fixed order."""


@dataclass(frozen=True)
class Outcome:
    """What an examination said of one plant."""

    plant: Plant
    found: bool
    """The expected rule fired and named the place."""
    said: str
    """Its message, or why there is none."""
    strange: tuple[str, ...] = ()
    """Errors and warnings that the plant does not explain: rule, place, message."""


def examined(root: Path, extra: Iterable[str] = ()) -> tuple[Finding, ...]:
    """All findings on the set at `root`, and its ledger as findings of the rule LEDGER.

    Rules named in `extra` run though they are off by default.
    """
    settings = Settings(extend_select=tuple(sorted({name for name in extra if name in all_rules()})))
    facts = examine(root, cache=False, workers=1)
    findings = judge([facts], LoadedSettings(settings, "benchmark", root), rules=chosen_rules(settings)).findings
    ledger = (
        Finding(rule=LEDGER, severity=Severity.INFO, message=row["reason"], place=Place(file=row["file"]))
        for row in facts.ledger.iter_rows(named=True)
    )
    return (*findings, *ledger)


def names(finding: Finding, place: str) -> bool:
    """Whether the finding speaks of the place."""
    record = json.dumps([finding.place.to_dict(), finding.message, finding.to_dict()["evidence"]], ensure_ascii=False)
    return place in record


def judged(plant: Plant, place: str, findings: Sequence[Finding], strangers: bool = True) -> Outcome:
    """Whether `plant` was found among `findings`, and what else was said."""
    strange = tuple(
        f"{f.rule} {f.place}: {f.message}"
        for f in findings
        if strangers
        and f.caused_by is None
        and f.severity >= Severity.WARNING
        and f.rule != plant.rule
        and f.rule not in plant.also
    )
    mine = [f for f in findings if f.rule == plant.rule]
    here = [f for f in mine if names(f, place)]
    if here:
        return Outcome(plant, True, here[0].message, strange)
    if plant.rule not in (*all_rules(), LEDGER, REFUSED):
        why = "there is no such rule"
    elif mine:
        why = f"fired without naming {place}: {mine[0].message}"
    else:
        others = sorted({f.rule for f in findings if names(f, place)})
        why = f"silent; {', '.join(others) or 'nothing'} named {place or 'the set'}"
    return Outcome(plant, False, why, strange)


def alone(plant: Plant, sets: CleanSets, folder: Path) -> Outcome:
    """The plant in a fresh copy below `folder`, which is removed again."""
    root, place = plant_alone(plant, sets, folder / "alone")
    try:
        return judged(plant, place, examined(root, [plant.rule]))
    except DatasetError as error:
        return Outcome(plant, plant.rule == REFUSED and place in str(error), f"refused: {error}")
    finally:
        shutil.rmtree(root)


def plant_alone(plant: Plant, sets: CleanSets, root: Path) -> tuple[Path, str]:
    """Make a copy with this one plant at `root`; its root and what must be named."""
    of_format = [p for p in PLANTS if p.format == plant.format]
    shared = [p for p in of_format if not p.alone] or of_format
    # A plant has the same picture alone and together, so that both arrangements can be compared.
    position = shared.index(plant) if plant in shared else 0
    _, site = list(sites(sets.copy(plant.format, root), shared))[position]
    return root, place_named(plant, site)


def plant_together(form: str, sets: CleanSets, root: Path) -> list[tuple[Plant, str]]:
    """Make a copy with all plants of the format that can stand beside others; each with what must be named."""
    shared = [p for p in PLANTS if p.format == form and not p.alone]
    sets.copy(form, root)
    return [(plant, place_named(plant, site)) for plant, site in sites(root, shared)]


def together(form: str, sets: CleanSets, folder: Path) -> list[Outcome]:
    """All plants of the format that can stand beside others, in one set."""
    root = folder / "together"
    planted = plant_together(form, sets, root)
    findings = examined(root, [plant.rule for plant, _ in planted])
    shutil.rmtree(root)
    return [judged(plant, place, findings, strangers=False) for plant, place in planted]


def alarms(form: str, sets: CleanSets) -> tuple[str, ...]:
    """Findings on the clean set of a format, as severity, rule, place and message."""
    found = (f for f in examined(sets.path(form)) if f.rule != LEDGER)
    return tuple(f"{f.severity} {f.rule} {f.place}: {f.message}" for f in found)
