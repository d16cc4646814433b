"""`explain` and `rules`: a rule's page, and the list of all rules, both read from the rules themselves."""

from pydantic.fields import FieldInfo

from snellen.findings.registry import all_rules, find_rule
from snellen.findings.rule import HEADINGS, PREFIXES, Rule


def explain(name: str) -> str:
    """Return the page of the rule called `name` (name, code or alias) as Markdown. Raises UnknownRuleError."""
    return rule_page(find_rule(name))


def rule_page(rule: type[Rule]) -> str:
    """Markdown page: title, status line, the docstring's sections, and the generated options."""
    page = rule.page()
    needs = [kind.__name__ for kind in rule.needs().values()]
    facts = [
        f"**{rule.category.severity}**",
        f"category {rule.category}",
        PREFIXES[rule.code[:3]],
        "on by default" if rule.category.on_by_default and not rule.preview else "off by default",
    ]
    if rule.preview:
        facts.append("preview")
    if needs:
        facts.append(f"reads {', '.join(needs)}" + (f" ({rule.tier.name.lower()})" if "DataFacts" in needs else ""))
    lines = [f"# {rule.name} ({rule.code})", "", page[""], "", " · ".join(facts), ""]
    if rule.causes:
        lines += ["Folded under, where they are found at the same place: " + ", ".join(rule.causes) + ".", ""]
    if rule.aliases:
        lines += [f"Formerly {', '.join(rule.aliases)}.", ""]
    for heading in HEADINGS:
        text = _options(rule) if heading == "Options" else page[heading]
        if text:
            lines += [f"## {heading}", "", text, ""]
    return "\n".join(lines).rstrip() + "\n"


def _options(rule: type[Rule]) -> str:
    own = [
        f"* `{name.replace('_', '-')}` = `{_default(f)}`: {f.description}"
        for name, f in rule.Options.model_fields.items()
    ]
    table = f"In `snellen.toml`, under `[rules.{rule.name}]`:\n\n"
    return table + "\n".join([*own, f"* `severity` = `{rule.category.severity}`: info, warning or error."])


def _default(info: FieldInfo) -> str:
    return str(info.get_default(call_default_factory=True))


def rule_index() -> str:
    """Markdown table of every rule, by code."""
    lines = ["| code | name | severity | what it finds |", "| --- | --- | --- | --- |"]
    for rule in all_rules().values():
        off = "" if rule.category.on_by_default and not rule.preview else " (off)"
        summary = rule.page()[""].splitlines()[0]
        lines.append(f"| {rule.code} | [{rule.name}]({rule.name}.md) | {rule.category.severity}{off} | {summary} |")
    return "\n".join(lines) + "\n"


def options_schema() -> dict[str, object]:
    """JSON schema of `snellen.toml`, with every rule's options."""
    from snellen.findings.settings import Settings

    schema = Settings.model_json_schema(by_alias=True)
    rules: dict[str, object] = {}
    for rule in all_rules().values():
        own = rule.Options.model_json_schema()
        properties = {name.replace("_", "-"): value for name, value in own.get("properties", {}).items()}
        properties["severity"] = {"enum": ["info", "warning", "error"], "default": str(rule.category.severity)}
        rules[rule.name] = {"type": "object", "properties": properties, "additionalProperties": False}
    schema["properties"]["rules"] = {
        "description": schema["properties"]["rules"].get("description", ""),
        "type": "object",
        "properties": rules,
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "snellen.toml"}
