"""See SplitLeakByAugmentation."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.rules.data._copies import across_splits, leaks, near_pairs
from snellen.rules.data._resemblance import Resemblance, by_split

_ROBOFLOW = re.compile(r"(.+)\.rf\.[0-9a-zA-Z]{16,}")
_WORD = (
    r"aug(?:mented)?|h?flip(?:ped)?|vflip|mirror(?:ed)?|rot(?:ated?|ation)?|crop(?:ped)?|bright(?:ness)?|dark(?:en)?|"
    r"blur(?:red)?|noisy?|hue|gr[ae]y(?:scale)?"
)
_MADE = re.compile(rf"(.+?)(?:[_\-.](?:{_WORD})[_\-.]?\d*)+", re.IGNORECASE)


class SplitLeakByAugmentation(Rule):
    """An augmented copy of a training image in validation.

    ## What it does
    Reports the share of a split's images of which another split holds a mirrored, turned or cropped copy, or one that
    the names say was made of the same picture: `a_jpg.rf.0f3c....jpg` of Roboflow, `a_aug3.jpg`, `a_flip.png`.

    ## Why is this bad?
    Training applies such changes anyway: the score on these images measures memory. It happens where the dataset was
    augmented before it was split.

    ## How it is computed
    Pairs as in `near-duplicate-image` that are mirrored, turned or cropped and lie in two splits; and pairs whose names
    are the same without Roboflow's hash, or without the words and numbers of an augmentation at their end. Names alone
    do not count: at least `min_pairs` pairs, and `min_share` of those linked by name, must be as near in hash, in any
    orientation, as one in a hundred unrelated pairs of the two splits is (see `split-leak-by-group`).

    ## Example
        val  split-leak-by-augmentation  60 of 200 val images are in train too, mirrored, turned or cropped ...

    ## Fix
    Split first, then augment the training images only; best while training, so that nothing needs storing.

    ## Known false positives
    Pictures that are symmetric patterns throughout.

    ## References
    S. Kapoor, A. Narayanan, "Leakage and the Reproducibility Crisis in Machine-learning-based Science" (2023),
    arXiv:2207.07048, leakage L1.2: pre-processing on training and test set.
    """

    name = "split-leak-by-augmentation"
    code = "SPL009"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("split-leak-by-group", "split-leak-exact")

    class Options(RuleOptions):
        """When names count."""

        min_pairs: int = 3
        """Pairs linked by name that must be alike."""
        min_share: float = 0.2
        """Share, 0..1, of the pairs linked by name that must be alike; of unrelated pairs 0.01 are."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        pairs = across_splits(near_pairs(data)).filter(pl.col("kind") != "near")
        pairs = pairs.select("image", "other", "split", "other_split")
        resemblance = Resemblance(data, turned=True)
        for first, second, earlier, later in by_split(data):
            links = _by_name(earlier, later)
            alike = resemblance.alike(links, earlier, later)
            if len(alike) >= max(self.options.min_pairs, self.options.min_share * len(links)):
                rows = [(one, other, first, second) for one, other in alike]
                pairs = pl.concat([pairs, pl.DataFrame(rows, schema=pairs.schema, orient="row")])
        yield from leaks(data, pairs, "in {first} too, mirrored, turned, cropped or otherwise augmented")


def _by_name(earlier: list[str], later: list[str]) -> list[tuple[str, str]]:
    """Pairs of images, one of each list, made of the same picture as their names say; one for each of `later`."""
    plain: dict[str, str] = {}
    made: dict[str, str] = {}
    for image in earlier:
        stem = PurePosixPath(image).stem
        base = _base(stem)
        (plain if base == stem else made).setdefault(base, image)
    links = []
    for image in later:
        stem = PurePosixPath(image).stem
        base = _base(stem)
        # Two that no augmentation made, of one name in two folders, are two pictures.
        found = made.get(base) or (plain.get(base) if base != stem else None)
        if found is not None:
            links.append((found, image))
    return links


def _base(stem: str) -> str:
    """The name of the picture that this one was made of; the name itself where it says nothing."""
    match = _ROBOFLOW.fullmatch(stem)
    if match:
        return match.group(1)
    match = _MADE.fullmatch(stem)
    return match.group(1) if match else stem
