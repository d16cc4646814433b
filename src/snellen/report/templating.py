"""What every page is set with: templates that escape, one style, one script, and the policy that allows no other."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from snellen.findings.words import plural
from snellen.report.plain import number, plain, share


@cache
def asset(name: str) -> str:
    """The text of a file beside the templates."""
    return files("snellen.report").joinpath("templates", name).read_text(encoding="utf-8")


def render(template: str, context: dict[str, Any]) -> str:
    """Set `template`; the style and the script of the pages are there for it as `style` and `script`."""
    shared = {
        "style": Markup(asset("report.css")), "script": Markup(asset("report.js")),
        "style_hash": _hash(asset("report.css")), "script_hash": _hash(asset("report.js")),
    }  # fmt: skip
    return _environment().get_template(template).render(**shared, **context)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"plain": plain, "number": number, "share": share}
    environment.globals["plural"] = plural
    return environment
