"""Write the generated pages: `docs/rules/*.md`, their index, the settings schema, and the networks by name.

Run it with `make docs`; a test fails when the pages in the repository are stale.
"""

import json
import sys
from pathlib import Path

from snellen.findings.registry import all_rules
from snellen.verbs.explain import options_schema, rule_index, rule_page

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
from models_page import models_page  # noqa: E402  - a neighbour of this file, wherever it is run from


def pages() -> dict[str, str]:
    """Path below `docs/` -> content of every generated file."""
    found = {f"rules/{rule.name}.md": rule_page(rule) for rule in all_rules().values()}
    found["rules/README.md"] = (
        "# The rules\n\nGenerated from the rules themselves; `snellen explain NAME` prints a page.\n\n" + rule_index()
    )
    found["snellen.schema.json"] = json.dumps(options_schema(), indent=1, ensure_ascii=False) + "\n"
    found["models.md"] = models_page()
    return found


def main() -> None:
    """Write what changed and remove the pages of rules that are gone."""
    wanted = pages()
    for path in (DOCS / "rules").glob("*.md"):
        if f"rules/{path.name}" not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
