"""The generated pages in the repository are those the rules generate today."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_fresh(generate: ModuleType) -> None:
    stale = [
        name
        for name, text in generate.pages().items()
        if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, "run `make docs`"


def test_no_page_outlives_its_rule(generate: ModuleType) -> None:
    assert {f"rules/{p.name}" for p in (DOCS / "rules").glob("*.md")} <= generate.pages().keys()


def test_the_schema_accepts_good_settings_and_refuses_a_misspelt_option() -> None:
    schema = json.loads((DOCS / "snellen.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"select": ["ANN"], "rules": {"box-out-of-bounds": {"severity": "info"}}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"rules": {"box-out-of-bounds": {"tolerence": 1}}}, schema)
