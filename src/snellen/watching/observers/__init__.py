"""What a watch observes, one kind a file."""

from snellen.watching.observers.accumulation import Accumulation
from snellen.watching.observers.activations import Activations
from snellen.watching.observers.batches import BatchObserver
from snellen.watching.observers.blame import Blame
from snellen.watching.observers.calls import Calls
from snellen.watching.observers.detection import DetectionObserver
from snellen.watching.observers.forwards import Forwards
from snellen.watching.observers.graphs import Graphs
from snellen.watching.observers.groups import Groups
from snellen.watching.observers.losses import LossObserver
from snellen.watching.observers.observer import Observer
from snellen.watching.observers.optimizer_state import OptimizerState
from snellen.watching.observers.order import Order
from snellen.watching.observers.ranks import Ranks
from snellen.watching.observers.samples import SampleObserver
from snellen.watching.observers.scalers import Scalers
from snellen.watching.observers.schedules import Schedules
from snellen.watching.observers.structure import Structure
from snellen.watching.observers.trials import Trials
from snellen.watching.observers.turns import Turns

ALL: tuple[type[Observer], ...] = (
    Blame,
    Calls,
    Forwards,
    Groups,
    Activations,
    BatchObserver,
    DetectionObserver,
    Accumulation,
    Graphs,
    LossObserver,
    OptimizerState,
    Order,
    Ranks,
    SampleObserver,
    Scalers,
    Schedules,
    Structure,
    Trials,
    Turns,
)
"""Every observer, in the order in which they look at a batch."""
