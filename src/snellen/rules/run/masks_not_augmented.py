"""See MasksNotAugmented."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure
from snellen.watching.facts import RunFacts


class MasksNotAugmented(Rule):
    """Images are flipped and their masks are not.

    ## What it does
    Knows an image again when it comes mirrored, and looks whether its mask came mirrored, too.

    ## Why is this bad?
    Wherever the picture is flipped the mask teaches the wrong pixels: the network learns an average of both.

    ## How it is computed
    An image and its mirror images share the sums over mirrored pixels. Of the images that came in more than one
    orientation, those with one and the same mask in all are counted; masks that are their own mirror images say
    nothing. Fires from `images` such images and `share` of them.

    ## Example
        masks-not-augmented 58 of 58 images that came mirrored had the mask of the image as it was

    ## Fix
    Give image and mask to the same transform: torchvision.transforms.v2 with `tv_tensors.Mask`, albumentations with
    `mask=`, or one random number for both.

    ## Known false positives
    Tasks whose target is the unflipped picture.

    ## References
    TheDeepChecker (augmentation that changes the target); PyTorch forum, "Torchvision transforms for segmentation".
    """

    name = "masks-not-augmented"
    code = "RUN196"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        images: int = 8
        """Images that came in more than one orientation."""
        share: float = 0.9
        """Share of them whose mask never changed; sound programs have 0."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, found = self.options, measure(run, "unturned-targets")
        if found is None or found["detail"] != "maps" or found["of"] < o.images or found["value"] < o.share:
            return
        count, of = round(found["value"] * found["of"]), int(found["of"])
        yield Finding(
            message=(
                f"{count} of {of} images that came mirrored had the mask of the image as it was (limit {o.share:.0%}): "
                "the flip is applied to the image only, and the mask teaches the wrong pixels"
            ),
            place=Place(layer="target"),
            evidence={"share": found["value"], "chain": [f"{of} images came in more than one orientation"]},
            affected=count,
            of=of,
            fix=Fix(FixSafety.UNSAFE, "transform image and mask together"),
        )
