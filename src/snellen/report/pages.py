"""A rule's page as HTML: the small part of Markdown that the pages are written in."""

import inspect
import re

from markupsafe import Markup, escape

from snellen.findings.registry import all_rules
from snellen.findings.rule import HEADINGS


def rule_sections(name: str) -> list[tuple[str, Markup]]:
    """Headings and text of the page of the rule called `name`, in order; empty for a rule that is not installed."""
    rule = all_rules().get(name)
    if rule is None:
        return []
    page = rule.page()
    # The page's sections come without the blanks before their first line, which make an example a block of code.
    if f"## Example\n    {page['Example']}" in inspect.cleandoc(rule.__doc__ or ""):
        page["Example"] = f"    {page['Example']}"
    return [(heading, to_html(page[heading])) for heading in HEADINGS if page.get(heading)]


def rule_summary(name: str) -> str:
    """The first line of a rule's page; empty for a rule that is not installed."""
    rule = all_rules().get(name)
    return rule.page()[""].split("\n")[0] if rule else ""


def to_html(text: str) -> Markup:
    """Paragraphs, lists, indented blocks, `code` and *emphasis*; everything else is text."""
    return Markup("").join(_block(block) for block in re.split(r"\n\s*\n", text.strip("\n")) if block.strip())


def _block(block: str) -> Markup:
    lines = block.split("\n")
    if all(line.startswith("    ") or not line.strip() for line in lines):
        return Markup("<pre>{}</pre>").format("\n".join(line[4:] for line in lines))
    if lines[0].startswith("```"):
        return Markup("<pre>{}</pre>").format("\n".join(line for line in lines if not line.startswith("```")))
    # A block may open with a sentence and go on as a list; an indented line continues its item.
    parts: list[Markup] = []
    items: list[str] = []
    words: list[str] = []
    for line in lines:
        if re.match(r"[*-] ", line):
            items.append(line[2:])
        elif items and line.startswith("  "):
            items[-1] += " " + line.strip()
        else:
            words.append(line.strip())
    if words:
        parts.append(Markup("<p>{}</p>").format(_inline(" ".join(words))))
    if items:
        listed = Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items)
        parts.append(Markup("<ul>{}</ul>").format(listed))
    return Markup("").join(parts)


def _inline(text: str) -> Markup:
    safe = str(escape(text))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return Markup(re.sub(r"\*\*([^*<>]+)\*\*", r"<strong>\1</strong>", safe))
