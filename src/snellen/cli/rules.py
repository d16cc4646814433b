"""`snellen rules`."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("rules")(rules)


def rules(
    selector: Annotated[str, typer.Argument(help="Prefix, category, name or ALL.")] = "ALL",
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of snellen.toml.")] = False,
) -> None:
    """List the rules: code, name, severity and what each finds."""
    import json

    from snellen.findings.registry import find_rules
    from snellen.verbs.explain import options_schema

    if schema:
        typer.echo(json.dumps(options_schema(), indent=1))
        return
    found = find_rules(selector)
    width = max(len(rule.name) for rule in found)
    for rule in found:
        on = "" if rule.category.on_by_default and not rule.preview else " (off)"
        summary = rule.page()[""].splitlines()[0]
        typer.echo(f"{rule.code}  {rule.name:<{width}}  {rule.category.severity!s:<7}{on}  {summary}")
