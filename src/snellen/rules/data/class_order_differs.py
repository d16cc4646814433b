"""See ClassOrderDiffers."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule
from snellen.rules.data._records import EXAMPLES, problem_findings


class ClassOrderDiffers(Rule):
    """Splits in which one number means two classes.

    ## What it does
    Reports class folders of which one split lacks a class that another has, so that numbering them apart gives other
    numbers, and class lists beside YOLO labels that contradict data.yaml.

    ## Why is this bad?
    torchvision's ImageFolder and Keras number the folders of each split by themselves: with 'cat' missing from val,
    'dog' is 2 in training and 1 in validation. Accuracy is then wrong without a word, often below chance.

    ## How it is computed
    A classes.txt among the labels that gives a class of data.yaml another number is reported. For class folders, the
    classes that each split has are sorted and numbered; reported when a class that both have gets two numbers.

    ## Example
        class-order-differs  val numbers 'dog' 1, train numbers it 2 ...

    ## Fix
    Make an empty folder for the class (and allow_empty=True), or number the classes by train's folders.

    ## Known false positives
    Loaders that take the class list from one place, as Snellen does.

    ## References
    torchvision.datasets.folder.find_classes.
    """

    name = "class-order-differs"
    code = "LBL020"
    category = Category.SUSPICIOUS
    causes = ("class-missing-in-split", "rare-class", "unused-class")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        consequence = "the rows of one of the two stand for other classes than are learnt"
        yield from problem_findings(data, "class-list-contradicts", consequence)
        if data.format != "class-folders":
            return
        numbers = {
            split: {name: i for i, name in enumerate(sorted(group["class_name"].drop_nulls().unique()))}
            for (split,), group in data.images.drop_nulls("split").group_by("split", maintain_order=True)
        }
        train = numbers.get("train")
        for split, own in numbers.items():
            moved = sorted(name for name, number in own.items() if train and train.get(name, number) != number)
            if train and moved:
                one = moved[0]
                yield Finding(
                    message=f"{split} numbers {one!r} {own[one]} where train numbers it {train[one]}, and "
                    f"{len(moved)} of "
                    f"{len(own)} classes alike, as {split} lacks some: loaders that number each split by itself score "
                    "nonsense",
                    place=Place(split=split),
                    evidence={"classes": moved[:EXAMPLES], "absent": sorted(train.keys() - own.keys())},
                    affected=len(moved),
                    of=len(own),
                )
