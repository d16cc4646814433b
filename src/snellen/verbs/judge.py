"""`judge`: run the rules over facts that are already there, such as those a Recorder took in a loop of one's own."""

from pathlib import Path

from snellen.data.facts import DataFacts
from snellen.environment import environment
from snellen.errors import UseError
from snellen.evaluation.facts import ScoreFacts
from snellen.facts import Facts
from snellen.findings.engine import judge as run_rules
from snellen.findings.settings import LoadedSettings, load_settings
from snellen.network.facts import NetworkFacts
from snellen.result import Result
from snellen.watch.facts import RunFacts

FIELDS: dict[type[Facts], str] = {DataFacts: "data", NetworkFacts: "network", RunFacts: "run", ScoreFacts: "scores"}


def judge(*facts: Facts, subject: str = "facts", settings: LoadedSettings | None = None) -> Result:
    """Say what the rules find in `facts`, at most one of each kind; rules that join two kinds run when both are given.

    Raises UseError on an object that is no facts, or on two of one kind.
    """
    settings = settings or load_settings(Path.cwd())
    parts: dict[str, Facts] = {}
    for fact in facts:
        name = FIELDS.get(type(fact))
        if name is None or name in parts:
            raise UseError(f"judge: {type(fact).__name__} is {'given twice' if name else 'no facts'}")
        parts[name] = fact
    verdict = run_rules(list(facts), settings)
    return Result(subject=subject, verdict=verdict, environment=environment(), **parts)  # type: ignore[arg-type]
