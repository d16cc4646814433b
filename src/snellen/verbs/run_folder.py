"""The run folder: where it lies, what an exam leaves in it, and how that is read back."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

from snellen.data.facts import DataFacts
from snellen.errors import Interrupted, UseError
from snellen.evaluation.facts import ScoreFacts
from snellen.facts import Facts
from snellen.files import to_json, write_text
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, load_settings
from snellen.network.facts import NetworkFacts
from snellen.result import Result
from snellen.training.recipe import Recipe
from snellen.training.recipe_defaults import default_recipe
from snellen.watching.facts import RunFacts
from snellen.watching.read import read_steps, with_later_steps

PARTS: dict[str, type[Facts]] = {"data": DataFacts, "network": NetworkFacts, "run": RunFacts, "scores": ScoreFacts}


def new_run_folder(out: str | Path | None, subject: Path, resume: bool) -> Path:
    """Return the folder to write a run to. An existing run is continued with `resume`, never overwritten.

    Raises UseError when `out` holds something and `resume` is not asked for, when it holds no run and `resume` is, and
    when nothing can be written there.
    """
    folder = _folder(out, subject, resume)
    if resume and not (folder / "recipe.toml").is_file():
        raise UseError(f"{folder}: holds no run to go on with; leave out --resume to start one")
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = "is no folder" if not place.is_dir() else "cannot be written to"
        raise UseError(f"{folder}: {place} {reason}; name another --out")
    return folder


def _folder(out: str | Path | None, subject: Path, resume: bool) -> Path:
    if out is None:
        stem = (subject.stem if subject.is_file() else subject.resolve().name) or "run"
        number = 1
        while (folder := Path("runs") / f"{stem}-{number}").exists():
            number += 1
        if resume and number > 1:
            return Path("runs") / f"{stem}-{number - 1}"
        return folder
    folder = Path(out)
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise UseError(f"{folder}: already holds something; continue that run with --resume or name another --out")
    return folder


def chosen_recipe(
    data: DataFacts, folder: Path, recipe: Recipe | None, resume: bool, overrides: dict[str, Any]
) -> Recipe:
    """`recipe`, else that of the run being resumed, else the one found by looking; with `overrides` on top.

    Raises UseError when it is for another task than `data`, or when the run would be taken for a part of the dataset.
    """
    if data.format == "class-folders" and folder.absolute().is_relative_to(Path(data.root)):
        raise UseError(f"{folder}: lies among the class folders of {data.root}, as one of them; name another --out")
    if recipe is None and resume:
        recipe = Recipe.from_toml(folder / "recipe.toml")
    final = recipe.vary(**overrides) if recipe else default_recipe(data, **overrides)
    if final.task != data.task:
        raise UseError(f"{data.root}: a {data.task} dataset cannot be trained on by a recipe for {final.task}")
    return final


def stopped(verb: str, subject: str | Path, folder: Path, own_model: bool) -> Interrupted:
    """What to raise when Ctrl-C ended the training of the run in `folder`, of a network of the caller's own or not."""
    if own_model:
        command = f"snellen.{verb}({str(subject)!r}, model=..., out={str(folder)!r}, resume=True)"
    else:
        command = shlex.join(["snellen", verb, str(subject), "--out", str(folder), "--resume"])
    return Interrupted(f"stopped, and all that was learned is saved; go on with: {command}")


def write_run(result: Result) -> None:
    """Write facts, findings, scores and the report into `result.folder`, each file whole or not at all."""
    from snellen.report.html import render_html
    from snellen.report.json import render_json

    if result.folder is None:
        raise UseError("a result without a run folder cannot be written")
    for name in PARTS:
        facts: Facts | None = getattr(result, name)
        if facts is not None:
            facts.save(result.folder / "facts" / name)
    write_text(result.folder / "findings.json", render_json(result))
    if result.scores is not None:
        scores = {row["metric"]: row for row in result.scores.scores.to_dicts()}
        write_text(result.folder / "scores.json", to_json(scores))
    about = {
        "subject": result.subject, "recipe": dict(result.recipe), "environment": dict(result.environment),
        "seconds": dict(result.seconds),
    }  # fmt: skip
    write_text(result.folder / "result.json", to_json(about))
    root = Path(result.data.root) if result.data else None
    write_text(result.folder / "report.html", render_html(result, image_root=root))


def read_run(folder: str | Path, settings: LoadedSettings | None = None) -> Result:
    """Load the facts of a run and judge them anew with the settings that hold now; nothing is measured again.

    A run that `snellen.watch` writes may still go on, or have ended in a crash: its steps are read as far as they come.
    Raises UseError when the folder holds neither a finished exam nor a watched run.
    """
    folder = Path(folder)
    settings = settings or load_settings(Path.cwd())
    try:
        about = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        there = {name: folder / "facts" / name for name in PARTS if (folder / "facts" / name).is_dir()}
        parts: dict[str, Any] = {name: PARTS[name].load(path) for name, path in there.items()}
    except (OSError, ValueError, TypeError) as error:
        raise UseError(
            f"{folder}: holds no finished exam ({error}); `snellen exam DATA --out {folder}` makes one"
        ) from error
    steps = folder / "steps.jsonl"
    run = parts.get("run")
    if run is None and not parts and steps.is_file():
        parts["run"] = read_steps(steps, finished=False)
    elif isinstance(run, RunFacts) and not run.finished:
        parts["run"] = with_later_steps(run, steps)
    data = parts.get("data")
    root = Path(data.root) if isinstance(data, DataFacts) else None
    recipe = [Recipe.build(about["recipe"])] if about["recipe"] else []
    verdict = judge([*parts.values(), *recipe], settings, data_root=root)
    return Result(verdict=verdict, folder=folder, **about, **parts)
