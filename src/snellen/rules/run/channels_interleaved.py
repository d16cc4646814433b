"""See ChannelsInterleaved."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import rows
from snellen.watching.facts import RunFacts


class ChannelsInterleaved(Rule):
    """Images were brought to channels-first by `view` or `reshape`, which scrambles them.

    ## What it does
    Reads the numbers of each image in the order in which they lie in memory.

    ## Why is this bad?
    Each "channel" holds a third of the picture with its three colours side by side. A network can learn something of
    it, and learns far less than of the picture.

    ## How it is computed
    In a picture stored in planes, numbers side by side are neighbours of one colour. In one stored pixel after pixel
    numbers C apart are, and those C * W apart lie above each other. Fires when both of these distances save at least
    `saving` of the mean difference that numbers side by side, and numbers W apart, have.

    ## Example
        channels-interleaved numbers 3 apart differ 62 % less than numbers side by side

    ## Fix
    `x.permute(0, 3, 1, 2)`, or `torchvision.transforms.v2.functional.to_image`, instead of `x.view(N, C, H, W)`.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation of Tensor.view: it never moves data. PyTorch forum, "Different between permute, transpose,
    view".
    """

    name = "channels-interleaved"
    code = "RUN195"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        saving: float = 0.2
        """Share of the difference that reading pixel after pixel saves; planes of pictures and of noise save none."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = rows(run, "input")
        known = found["interleaved"].drop_nulls()
        if not len(known) or not (value := float(np.median(known.to_numpy()))) >= self.options.saving:
            return
        shape = found["shape"][0].to_list()
        yield Finding(
            message=(
                f"in images of shape {shape[1:]} numbers {shape[1]} apart differ at least {value:.0%} less than "
                f"numbers side by side (limit {self.options.saving:.0%}): they hold pixel after pixel and were given "
                "another shape, not another order, so that every channel is a mix of all"
            ),
            place=Place(layer="input"),
            evidence={"saving": value, "shape": shape},
            fix=Fix(FixSafety.UNSAFE, "permute(0, 3, 1, 2) where view or reshape stands"),
        )
