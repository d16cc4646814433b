"""How bad a finding is, and what kind of problem a rule looks for."""

from enum import IntEnum, StrEnum


class Severity(StrEnum):
    """Equal to its own word, and ordered: `severity == "error"`, `severity >= Severity.WARNING`."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def level(self) -> int:
        """1 (info) to 3 (error)."""
        return list(Severity).index(self) + 1

    def __lt__(self, other: str) -> bool:
        return self.level < Severity(other).level

    def __le__(self, other: str) -> bool:
        return self.level <= Severity(other).level

    def __gt__(self, other: str) -> bool:
        return self.level > Severity(other).level

    def __ge__(self, other: str) -> bool:
        return self.level >= Severity(other).level

    @classmethod
    def parse(cls, text: str) -> "Severity":
        """Return the severity called `text`; raises ValueError naming the three choices."""
        try:
            return cls[text.upper()]
        except KeyError:
            raise ValueError(f"severity {text!r}: expected info, warning or error") from None


class Category(StrEnum):
    """What a rule's findings mean. The category decides severity and whether the rule is on by default."""

    CORRECTNESS = "correctness"
    SUSPICIOUS = "suspicious"
    PERFORMANCE = "performance"
    STYLE = "style"
    PEDANTIC = "pedantic"

    @property
    def severity(self) -> Severity:
        """The severity of this category's findings unless the settings say otherwise."""
        return _SEVERITY[self]

    @property
    def on_by_default(self) -> bool:
        """Pedantic rules run only when selected."""
        return self is not Category.PEDANTIC


_SEVERITY = {
    Category.CORRECTNESS: Severity.ERROR,
    Category.SUSPICIOUS: Severity.WARNING,
    Category.PERFORMANCE: Severity.WARNING,
    Category.STYLE: Severity.INFO,
    Category.PEDANTIC: Severity.INFO,
}


class Tier(IntEnum):
    """What gathering a dataset fact costs; a rule names the dearest it needs and the planner stops there."""

    LABELS = 0
    """Annotation files only."""
    HEADERS = 1
    """File sizes, hashes, image headers and end markers."""
    PIXELS = 2
    """One decode of every image."""
