"""See StoppedByError."""

import re
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.watching.facts import RunFacts

MEANINGS = (
    (
        r"Target (-?\d+) is out of bounds",
        "a label is {0}, and the outputs are numbered from 0 to their count less one: the head is too small, or the "
        "labels are not mapped to 0..C-1",
        "a head of max(label) + 1 outputs, labels mapped to 0..C-1",
    ),
    (
        r"index out of range in self|index (\d+) is out of bounds for dimension|device-side assert",
        "an id is larger than the table it is looked up in: token ids reach the vocabulary's size, or labels the "
        "number of outputs",
        "an embedding of max(id) + 1 rows (or a head of as many outputs), ids mapped to 0..n-1",
    ),
    (
        r"all elements of (?:input|target) should be between 0 and 1",
        "binary cross-entropy takes probabilities and targets within 0..1 and got something else",
        "nn.BCEWithLogitsLoss for raw outputs; targets of 0 and 1",
    ),
    (
        r"does not require grad and does not have a grad_fn",
        "no graph leads from the loss to a weight: it was computed under no_grad, of detached tensors or of numbers",
        "call backward() on what the loss function returned for outputs computed with gradients on",
    ),
    (
        r"backward through the graph a second time",
        "the loss still hangs on an earlier step, as by a hidden state that is carried over",
        "detach what is carried from one step to the next",
    ),
    (
        r"modified by an inplace operation",
        "a tensor that backward needs was overwritten in place, or weights were stepped between two backward passes",
        "out of place operations (x = x + y); step after the last backward",
    ),
    (
        r"Expected more than 1 value per channel",
        "batch norm got one sample in training: the last batch of the loader has one row",
        "DataLoader(drop_last=True), or another batch size",
    ),
    (
        r"mat1 and mat2 shapes cannot be multiplied|expected input.* to have \d+ channels|size of tensor a|"
        r"shape '.*' is invalid for input|normalized_shape=",
        "a layer was made for another shape than it gets",
        "print the shape before that layer, and make it for this one",
    ),
    (
        r"expected scalar type|must have the same dtype|found dtype|same dtype|not implemented for '(?:Long|Int|Byte)'",
        "tensors of different types met: integer ids where numbers are due, or float64 from NumPy",
        "x.float() for inputs and numbers to regress, y.long() for class ids",
    ),
    (
        r"Input type .* should be the same",
        "the input and the weights differ in type or device",
        "move the input: x.to(weight.device, weight.dtype)",
    ),
    (
        r"on the same device",
        "model and data are on different devices",
        "move both by .to(device), before the optimizer is made",
    ),
    (
        r"out of memory",
        "the batch does not fit into memory",
        "a smaller batch with gradient accumulation, or mixed precision",
    ),
)
"""What PyTorch's message says, what that means, and what to do."""

ENDS = re.compile(r"stopped by (\w+(?:Error|Exception)): (.+)", re.DOTALL)


class StoppedByError(Rule):
    """The loop ended with an exception.

    ## What it does
    Reports the exception that left the watched block, and what PyTorch's message means where that is known.

    ## Why is this bad?
    The run is over, and a message such as "Target 9 is out of bounds" names what was met and not what is wrong.

    ## How it is computed
    From the exception that leaves `with snellen.watch(...)`: the messages of PyTorch for labels and ids out of range,
    probabilities that are none, lost and used-up graphs, shapes, types, devices and memory. Other exceptions are
    reported when they are errors of Python or torch; Ctrl-C and exceptions of the program's own are no fault.

    ## Example
        stopped-by-error IndexError at step 44, Target 9 is out of bounds: a label is 9, and the outputs are ...

    ## Fix
    As the finding says.

    ## Known false positives
    Errors that are raised on purpose to end the loop.

    ## References
    PyTorch's own messages, torch/nn/functional.py and ATen.
    """

    name = "stopped-by-error"
    code = "RUN202"
    category = Category.CORRECTNESS
    causes = (
        "labels-start-at-one",
        "single-output-cross-entropy",
        "loss-without-graph",
        "forward-without-grad",
        "layer-without-gradient",
        "graph-grows",
        "loss-not-finite",
    )

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        ended = ENDS.match(run.stop_reason)
        if run.finished or ended is None:
            return
        kind, text = ended.groups()
        meaning, remedy = "the run ends here", "follow the traceback"
        for pattern, means, do in MEANINGS:
            if found := re.search(pattern, text):
                meaning, remedy = means.format(*found.groups()), do
                break
        step = run.steps.height
        yield Finding(
            message=f"{kind} at step {step}, {text.rstrip('.')}: {meaning}",
            place=Place(step=step),
            evidence={"error": kind, "text": text},
            fix=Fix(FixSafety.UNSAFE, remedy),
        )
