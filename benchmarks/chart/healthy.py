"""Healthy runs that thresholds may be set on."""

from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from benchmarks.chart.subjects import SUBJECTS

cases = Cases("healthy")


@cases.healthy(*SUBJECTS)
def as_it_is(program: Program) -> None:
    """A subject as it stands."""
