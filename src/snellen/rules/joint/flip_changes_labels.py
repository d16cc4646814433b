"""See FlipChangesLabels."""

import re
from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.findings.words import listed
from snellen.training.recipe import Recipe

_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirrored(name: str) -> str:
    """The class name with left and right exchanged, words only."""
    return re.sub(r"[a-z]+", lambda m: _OTHER.get(m[0], m[0]), name.lower())


class FlipChangesLabels(Rule):
    """Mirrored images under labels that mirroring changes.

    ## What it does
    Reports recipes that flip images left-right while the classes tell left from right, or are characters, or while
    keypoints have no mirror table.

    ## Why is this bad?
    Half of the training images then carry a wrong label, and the network is taught that both are right.

    ## How it is computed
    `flip` is on and two class names differ only in left/right, or most class names are single characters (letters,
    digits), or the dataset has keypoints and says no flip index.

    ## Example
        flip-changes-labels  flip is on, and 'turn left' and 'turn right' become each other ...

    ## Fix
    Set flip = false, or give the mirror table of the keypoints.

    ## Known false positives
    Characters that are meant to be read mirrored.

    ## References
    Cubuk et al. 2019 leave flips out for SVHN.
    """

    name = "flip-changes-labels"
    code = "CFG002"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts, recipe: Recipe) -> Iterator[Finding]:
        """Yield the findings."""
        if not recipe.flip:
            return
        names = data.classes["class_name"].drop_nulls().to_list()
        sides = {mirrored(n): n for n in names}
        pair = next(((n, sides[n]) for n in names if n in sides and sides[n] != n), None)
        characters = [n for n in names if len(n.strip()) == 1]
        if pair:
            what = f"{pair[0]!r} and {pair[1]!r} become each other"
        elif len(characters) > len(names) / 2:
            what = f"the classes are characters ({listed(characters, 6)})"
        elif data.keypoints.height and not data.keypoint_flip:
            what = "left and right keypoints become each other, as the dataset has no flip index"
        else:
            return
        yield Finding(
            message=f"flip is on, and {what}: half of the training images are learnt under a wrong label",
            evidence={"classes": names[:20]},
            fix=Fix(FixSafety.UNSAFE, "train without flip", {"op": "set-recipe", "flip": False}),
        )
