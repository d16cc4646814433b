"""See SymlinkPlaceholder."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.data._records import problem_findings


class SymlinkPlaceholder(Rule):
    """A text file where a directory link should be.

    ## What it does
    Reports small text files that hold a path to a folder: links of a repository checked out without link support.

    ## Why is this bad?
    Every other program finds a file where it expects a folder, and no images.

    ## How it is computed
    A file without suffix, below 200 bytes, that stands where a folder is expected and names an existing folder
    nearby.

    ## Example
        images  symlink-placeholder  images is a text file that says '../images' ...

    ## Fix
    Replace it with a link or with the folder, or clone with `git config core.symlinks true`.

    ## Known false positives
    None known.

    ## References
    git-config, core.symlinks.
    """

    name = "symlink-placeholder"
    code = "LBL012"
    category = Category.STYLE

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        yield from problem_findings(
            data, "symlink-placeholder", "it was followed here, other programs will find no images"
        )
