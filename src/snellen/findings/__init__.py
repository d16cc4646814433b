"""Ground floor: what a finding is, what a rule is, and how rules are chosen, run and silenced. Imports no torch."""

from snellen.findings.finding import Finding, Fix, FixSafety
from snellen.findings.place import Place
from snellen.findings.rule import Rule, RuleOptions
from snellen.findings.severity import Category, Severity, Tier

__all__ = ["Category", "Finding", "Fix", "FixSafety", "Place", "Rule", "RuleOptions", "Severity", "Tier"]
