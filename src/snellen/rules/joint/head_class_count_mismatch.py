"""See HeadClassCountMismatch."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts


class HeadClassCountMismatch(Rule):
    """The head tells apart another number of classes than the data has.

    ## What it does
    Reports a head whose number of outputs is not the number of classes in the data set.

    ## Why is this bad?
    With too few outputs the loss stops with an index error or, on a GPU, a device assertion; with too many the
    spare classes
    only take probability and the class names may be shifted.

    ## How it is computed
    Outputs of the head against the declared classes, or the used ones where none are declared. One output for two
    classes,
    and one more output than classes in detection (background), are as usual and pass.

    ## Example
        head-class-count-mismatch  the head has 1000 outputs, the data 10 classes

    ## Fix
    Build the network with `num_classes` of the data set.

    ## Known false positives
    Heads padded to a round number on purpose.

    ## References
    PyTorch documentation, `torch.nn.CrossEntropyLoss`: targets lie in [0, C).
    """

    name = "head-class-count-mismatch"
    code = "NET103"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if network.num_outputs is None or data.classes.is_empty():
            return
        declared = data.classes.filter(data.classes["declared"])
        classes = (declared if declared.height else data.classes).height
        outputs = network.num_outputs
        if outputs == classes or (outputs, classes) == (1, 2):
            return
        if outputs == classes + 1 and "detection" in (network.task, data.task):
            return
        effect = (
            "labels beyond the last output stop the loss"
            if outputs < classes
            else "the spare outputs can only be wrong"
        )
        yield Finding(
            message=f"the head has {plural(outputs, 'output')}, the data set {plural(classes, 'class', 'classes')}: "
            f"{effect}",
            evidence={"outputs": outputs, "classes": classes},
            affected=abs(outputs - classes),
            of=max(outputs, classes),
        )
