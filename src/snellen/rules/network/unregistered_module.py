"""See UnregisteredModule."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts


class UnregisteredModule(Rule):
    """A layer is held in a plain Python list or dict.

    ## What it does
    Reports modules and parameters that the model holds in a plain container, so that PyTorch does not know them.

    ## Why is this bad?
    `model.parameters()` leaves them out: the optimizer never updates them, `.to(device)` does not move them and the
    checkpoint does not hold them. The network trains around a random part.

    ## How it is computed
    The examiner walks every attribute, list, tuple, set and dict of the model; a module with parameters, or a
    `nn.Parameter`, that is reachable there and not through `modules()` is reported, the outermost path only.

    ## Example
        unregistered-module  blocks[0]: 9408 weights the optimizer never sees

    ## Fix
    Hold layers in `nn.ModuleList` or `nn.ModuleDict`, parameters in `nn.ParameterList`.

    ## Known false positives
    A frozen teacher hidden in a list on purpose, to keep it out of the checkpoint.

    ## References
    PyTorch documentation, `torch.nn.ModuleList`.
    """

    name = "unregistered-module"
    code = "NET001"
    category = Category.CORRECTNESS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for path in network.unregistered or ():
            yield Finding(
                message=f"{path} is held in a plain Python container: its weights are not in"
                f" model.parameters(), so no optimizer"
                " trains them, .to() does not move them and no checkpoint holds them",
                place=Place(layer=path),
                evidence={"path": path},
            )
