"""`check`: examine a dataset and say what is wrong with it."""

import time
from pathlib import Path

from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.data.measuring import measure_again
from snellen.environment import environment
from snellen.evaluation.facts import ScoreFacts
from snellen.findings.engine import judge, required_tier
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent
from snellen.result import Result


def check(
    data: str | Path,
    *,
    fast: bool = False,
    settings: LoadedSettings | None = None,
    cache: bool = True,
    cache_dir: Path | None = None,
    workers: int | None = None,
    engine: str = "local",
    with_model: str | Path | None = None,
    progress: Progress = silent,
) -> Result:
    """Examine the dataset at `data`: a class folder, a COCO JSON, a VOC folder or a YOLO data.yaml.

    `fast` reads labels and file headers but decodes no image; rules that need pixels are reported as skipped. Without
    `settings`, those that hold for the working folder are used. `cache`, `cache_dir`, `workers` and `engine` as in
    `examine`. `with_model` names a run folder, whose model then predicts every image, or predictions of these images
    (COCO results JSON, CSV, a folder of YOLO .txt): labels that they speak against are findings too. Raises
    DatasetError when nothing can be read there, UseError when there is nothing in `with_model`.
    """
    settings = settings or load_settings(Path.cwd())
    known = {DataFacts} if with_model is None else {DataFacts, ScoreFacts}
    chosen = [(rule, set(rule.needs().values())) for rule in chosen_rules(settings.values)]
    # Scores alone are `evaluate`'s to judge.
    rules = [rule for rule, needs in chosen if needs <= known and needs != {ScoreFacts}]
    tier = min(required_tier(rules), Tier.HEADERS) if fast else required_tier(rules)
    start = time.perf_counter()
    facts = examine(
        Path(data), tier=tier, cache=cache, cache_dir=cache_dir, workers=workers, engine=engine, progress=progress
    )
    seconds = {"examine": time.perf_counter() - start}
    scores = None
    if with_model is not None:
        from snellen.verbs.with_model import opinion_of

        start = time.perf_counter()
        opinion = opinion_of(Path(with_model), facts, progress)
        scores, facts = opinion.scores, measure_again(facts, opinion.unreadable)
        seconds["predict"] = time.perf_counter() - start
    start = time.perf_counter()
    there = [f for f in (facts, scores) if f is not None]
    verdict = judge(there, settings, rules=rules, data_root=Path(facts.root))
    seconds["judge"] = time.perf_counter() - start
    return Result(
        subject=str(data), verdict=verdict, data=facts, scores=scores, environment=environment(), seconds=seconds
    )
