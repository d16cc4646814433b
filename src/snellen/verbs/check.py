"""`check`: examine a dataset and say what is wrong with it."""

import time
from pathlib import Path

from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.environment import environment
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
    progress: Progress = silent,
) -> Result:
    """Examine the dataset at `data`: a class folder, a COCO JSON, a VOC folder or a YOLO data.yaml.

    `fast` reads labels and file headers but decodes no image; rules that need pixels are reported as skipped. Without
    `settings`, those that hold for the working folder are used. `cache`, `cache_dir`, `workers` and `engine` as in
    `examine`. Raises DatasetError when nothing can be read there.
    """
    settings = settings or load_settings(Path.cwd())
    rules = [rule for rule in chosen_rules(settings.values) if set(rule.needs().values()) <= {DataFacts}]
    tier = min(required_tier(rules), Tier.HEADERS) if fast else required_tier(rules)
    start = time.perf_counter()
    facts = examine(
        Path(data), tier=tier, cache=cache, cache_dir=cache_dir, workers=workers, engine=engine, progress=progress
    )
    examined = time.perf_counter()
    verdict = judge([facts], settings, rules=rules, data_root=Path(facts.root))
    seconds = {"examine": examined - start, "judge": time.perf_counter() - examined}
    return Result(subject=str(data), verdict=verdict, data=facts, environment=environment(), seconds=seconds)
