"""`demo`: the exam on the real data that comes with Snellen, healthy or with planted defects."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snellen.data.defects import Planted
from snellen.findings.settings import LoadedSettings, Settings
from snellen.findings.severity import Severity
from snellen.progress import Progress, silent
from snellen.result import Result

GOALS = {"classification": ("accuracy", 0.97), "detection": ("mAP50", 0.80)}
"""Task -> headline metric on held-out scans, and what the healthy demo must reach."""


@dataclass(frozen=True)
class Demo:
    """What the demo found; prints as the verdict, the table of planted defects and the paths of the reports."""

    results: Mapping[str, Result]
    """Task -> its exam."""
    planted: Mapping[str, list[Planted]]
    """Task -> defects planted before; empty for the healthy demo."""

    @property
    def passed(self) -> bool:
        """Healthy: both goals are met and no finding is worse than info. Sick: every planted defect is named."""
        if self.planted:
            return all(found for _, _, found in self._named())
        return all(self._reached(task) for task in self.results) and not any(
            f.severity > Severity.INFO for r in self.results.values() for f in r.verdict.findings
        )

    def _reached(self, task: str) -> bool:
        metric, goal = GOALS[task]
        scores = self.results[task].scores
        value = scores.score(metric) if scores else None
        return value is not None and value >= goal

    def _named(self) -> list[tuple[str, Planted, bool]]:
        rows = []
        for task, planted in self.planted.items():
            findings = self.results[task].verdict.findings
            for defect in planted:
                mine = [f for f in findings if f.rule == defect.rule]
                about_file = "." in defect.where and not defect.where.startswith(("network", "training"))
                places = [{f.place.image, f.place.file, *f.evidence.get("images", ())} for f in mine]
                found = any(defect.where in p for p in places) if about_file else bool(mine)
                rows.append((task, defect, found))
        return rows

    def __str__(self) -> str:
        lines = [""]
        for task, result in self.results.items():
            metric, goal = GOALS[task]
            value = result.scores.score(metric) if result.scores else None
            fine = result.scores.score("mAP") if result.scores and task == "detection" else None
            shown = "undefined" if value is None else f"{value:.3f}"
            beside = f", mAP@0.5:0.95 {fine:.3f}" if fine is not None else ""
            asked = "" if self.planted else f" (goal {goal:.2f}: {'met' if self._reached(task) else 'MISSED'})"
            roots = len(result.verdict.roots)
            lines.append(f"{task}: {metric} {shown}{beside}{asked}; {roots} root cause{'s' * (roots != 1)} found")
        if self.planted:
            rows = self._named()
            width = max(len(defect.rule) for _, defect, _ in rows)
            lines += ["", f"{sum(found for *_, found in rows)} of {len(rows)} planted defects named:"]
            lines += [
                f"  {'found ' if found else 'MISSED'}  {defect.rule:<{width}}  {defect.what} ({defect.where})"
                for _, defect, found in rows
            ]
        lines.append("")
        lines += [f"report: {r.folder / 'report.html'}" for r in self.results.values() if r.folder]
        return "\n".join(lines)


def demo(*, sick: bool = False, out: str | Path | None = None, progress: Progress = silent) -> Demo:
    """Build the digits sets below `out` (default: the next free `runs/demo-N`) and run the exam on both.

    Classification: 1,797 scanned digits. Detection: scenes of several digits. `sick` plants defects in the data, the
    network and the training first. Raises UseError when `out` holds something.
    """
    from snellen.data.defects import plant
    from snellen.data.digits import build_digits
    from snellen.verbs.exam import exam
    from snellen.verbs.run_folder import new_run_folder
    from snellen.verbs.sick_network import PLANTED, SickClassifier

    folder = new_run_folder(out, Path("demo-sick" if sick else "demo"), resume=False)
    settings = LoadedSettings(Settings(), "defaults", folder)
    progress("build digits", 0, 1)
    digits = build_digits(folder / "data")
    progress("build digits", 1, 1)
    planted: dict[str, list[Planted]] = {}
    results: dict[str, Result] = {}
    for task, data in (("classification", digits.classification), ("detection", digits.detection)):
        stage = _named_after(task, progress)
        target = folder / task
        if not sick:
            results[task] = exam(data, out=target, settings=settings, progress=stage, cache=False)
            continue
        planted[task] = plant(data)
        if task == "classification":
            planted[task] += PLANTED
            network = SickClassifier(num_classes=10)
            results[task] = exam(
                data, model=network, out=target, settings=settings, progress=stage, cache=False, epochs=2
            )
        else:
            planted[task].append(Planted("lr-too-high", "a learning rate of 3, a thousand times too high", "training"))
            results[task] = exam(data, out=target, settings=settings, progress=stage, cache=False, epochs=1, lr=3.0)
    return Demo(results, planted)


def _named_after(task: str, progress: Progress) -> Progress:
    def show(stage: str, done: int, total: int, note: str = "") -> None:
        progress(f"{task}: {stage}", done, total, note)

    return show
