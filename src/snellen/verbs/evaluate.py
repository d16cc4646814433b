"""`evaluate`: score a run's model, or anybody's predictions, on a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from snellen.data.facts import DataFacts
from snellen.environment import environment
from snellen.evaluation.facts import ScoreFacts
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, load_settings
from snellen.progress import Progress, silent
from snellen.result import Result

if TYPE_CHECKING:
    from snellen.training.trainer import Trained
