"""What an exam returns: the verdict and the facts it was judged from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snellen.data.facts import DataFacts
from snellen.evaluation.facts import ScoreFacts
from snellen.files import write_text
from snellen.findings.engine import Verdict
from snellen.findings.finding import Finding
from snellen.network.facts import NetworkFacts
from snellen.watching.facts import RunFacts


@dataclass(frozen=True, kw_only=True)
class Result:
    """One subject examined: any of the four facts, and what the rules said of them.

    Prints as a text report, shows as HTML in Jupyter.
    """

    subject: str
    """What was examined, as the user named it."""
    verdict: Verdict
    data: DataFacts | None = None
    network: NetworkFacts | None = None
    run: RunFacts | None = None
    scores: ScoreFacts | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The complete recipe as plain values; empty when nothing was trained."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions, processor, platform, date."""
    folder: Path | None = None
    """The run folder, when one was written."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage -> wall seconds."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """Caption -> PNG of what the network gets, drawn by a preflight."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rules found: root causes first, then by severity."""
        return self.verdict.findings

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one HTML file that needs nothing beside it; a file of that name is replaced whole."""
        from snellen.report.html import render_html

        write_text(Path(path), render_html(self, image_root=Path(self.data.root) if self.data else None))
        return Path(path)

    @property
    def facts(self) -> list[object]:
        """The facts there are, as the engine wants them."""
        return [f for f in (self.data, self.network, self.run, self.scores) if f is not None]

    def __str__(self) -> str:
        from snellen.report.text import render_text

        return render_text(self)

    def _repr_html_(self) -> str:
        from snellen.report.html import render_fragment

        return render_fragment(self)
