"""See SelfIntersectingPolygon."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules.data._records import EXAMPLES, outline_place


class SelfIntersectingPolygon(Rule):
    """A polygon whose outline crosses itself.

    ## What it does
    Reports polygons with an edge that crosses another edge of the same ring: bow-ties, and loops of a slipped mouse.

    ## Why is this bad?
    Inside and outside change sides at the crossing: pycocotools, OpenCV and PIL fill different pixels, and the area is
    that of the difference.

    ## How it is computed
    Each edge of a ring is tested against every other that is not its neighbour, with exact orientation signs.

    ## Example
        train.json:88  self-intersecting-polygon  an edge crosses another: fillers disagree on what is inside ...

    ## Fix
    Draw the outline again; splitting it at the crossing keeps the pixels.

    ## Known false positives
    Hand-drawn outlines with a loop of a pixel.

    ## References
    de Berg et al., Computational Geometry, ch. 2.
    """

    name = "self-intersecting-polygon"
    code = "ANN030"
    category = Category.SUSPICIOUS
    causes = ("degenerate-polygon",)

    class Options(RuleOptions):
        """Thresholds."""

        many: int = 20
        """Outlines from which they are one finding with one cause, most often a tool that traced them from masks."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        crossed = data.outlines.filter("self_intersecting")
        what = "pycocotools, OpenCV and PIL disagree on what lies inside, and so do the masks they train on"
        if crossed.height >= self.options.many:
            yield Finding(
                message=f"{crossed.height:,} of {data.outlines.height:,} outlines have an edge that crosses "
                f"another, as outlines traced from masks do: {what}",
                place=Place(file=crossed["file"][0]),
                evidence={"places": crossed.select("file", "row").head(EXAMPLES).rows()},
                affected=crossed.height,
                of=data.outlines.height,
            )
            return
        for outline in crossed.iter_rows(named=True):
            yield Finding(
                message=f"an edge of the {outline['kind']} crosses another: {what}",
                place=outline_place(outline),
                evidence={"area": outline["area"]},
            )
