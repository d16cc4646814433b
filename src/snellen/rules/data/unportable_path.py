"""See UnportablePath."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule

FORBIDDEN = frozenset('<>:"|?*\\')
MOST_BYTES = 255


class UnportablePath(Rule):
    """A file name that some systems cannot hold.

    ## What it does
    Reports image paths that break on other systems or in list files.

    ## Why is this bad?
    Windows refuses the characters < > : " | ? * and names that end in a dot or a space, many file systems refuse names
    above 255 bytes, and list files split at line breaks.

    ## How it is computed
    One of those characters, a control character, a trailing dot or space of a part, or a part of more than 255 bytes
    of UTF-8.

    ## Example
        images/12:30.jpg  unportable-path  holds ':' ...

    ## Fix
    Rename the file, and the image in its annotations.

    ## Known false positives
    Datasets that never leave Linux.

    ## References
    Microsoft, Naming Files, Paths, and Namespaces.
    """

    name = "unportable-path"
    code = "IMG027"
    category = Category.PEDANTIC

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for image in data.images["image"]:
            parts = image.split("/")
            odd = sorted({c for c in image if c in FORBIDDEN or not c.isprintable()})
            trailing = [p for p in parts if p.endswith((".", " "))]
            long = [p for p in parts if len(p.encode()) > MOST_BYTES]
            what = (
                f"holds {', '.join(map(repr, odd))}" if odd
                else f"{trailing[0]!r} ends in a dot or space" if trailing
                else f"a part has {len(long[0].encode())} bytes, more than {MOST_BYTES}" if long
                else ""
            )  # fmt: skip
            if what:
                yield Finding(
                    message=f"{what}: Windows and many drives cannot hold such a name, and copies lose the file",
                    place=Place(file=image, image=image),
                    evidence={"path": image},
                )
