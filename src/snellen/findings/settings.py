"""The user's settings: which rules run, how loud they are, and where each value came from.

Read from `snellen.toml`, or `[tool.snellen]` of `pyproject.toml`, in the folder given or the nearest above it; the
command line comes on top. An unknown key or option is an error that names the nearest match.
"""

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.errors import UseError
from snellen.findings.registry import all_rules, find_rule, find_rules
from snellen.findings.rule import Rule
from snellen.findings.severity import Severity


class SettingsError(UseError):
    """A settings file that cannot be used; the message names file, key, value and remedy."""


class Settings(BaseModel):
    """What a settings file may say; keys are written with dashes in TOML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        alias_generator=lambda n: n.replace("_", "-"),
        populate_by_name=True,
    )

    select: tuple[str, ...] = ()
    """Rules to run: names, codes, prefixes, categories or ALL. Empty: every rule that is on by default."""
    extend_select: tuple[str, ...] = ()
    """Rules to run besides those."""
    ignore: tuple[str, ...] = ()
    """Rules not to run; the more exact selector wins over the vaguer."""
    per_path_ignores: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Glob over image and label paths -> rules not to report there."""
    fail_on: str = "error"
    """The exit code is 1 when a finding is at least this severe: info, warning, error or never."""
    baseline: str | None = None
    """Path of the baseline file: findings recorded there are not reported."""
    rules: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Rule name -> its options, and `severity`."""


@dataclass(frozen=True)
class LoadedSettings:
    """Settings with their provenance."""

    values: Settings
    origin: str
    """The file they came from, or "defaults"."""
    folder: Path
    """The folder relative paths in them start from."""


def load_settings(start: Path) -> LoadedSettings:
    """Return the settings that hold for `start`. Raises SettingsError."""
    start = start.resolve()
    for folder in [start, *start.parents] if start.is_dir() else list(start.parents):
        own = folder / "snellen.toml"
        if own.is_file():
            return LoadedSettings(_parse(_read_toml(own), own), str(own), folder)
        project = folder / "pyproject.toml"
        if project.is_file():
            table = _read_toml(project).get("tool", {}).get("snellen")
            if table is not None:
                return LoadedSettings(_parse(table, project), str(project), folder)
    return LoadedSettings(Settings(), "defaults", start if start.is_dir() else start.parent)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _parse(table: dict[str, Any], path: Path) -> Settings:
    known = [name.replace("_", "-") for name in Settings.model_fields]
    for key in table:
        if key.replace("_", "-") not in known:
            raise SettingsError(f"{path}: unknown key {key!r}{_did_you_mean(key, known)}")
    try:
        settings = Settings.model_validate({key.replace("_", "-"): value for key, value in table.items()})
        for selector in (*settings.select, *settings.extend_select, *settings.ignore):
            find_rules(selector)
        for selectors in settings.per_path_ignores.values():
            for selector in selectors:
                find_rules(selector)
        for name, options in settings.rules.items():
            build_rule(find_rule(name), options)
        if settings.fail_on != "never":
            Severity.parse(settings.fail_on)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
        ) from error
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error
    return settings


def build_rule(rule: type[Rule], options: dict[str, Any]) -> Rule:
    """Return `rule` with `options` and, under `severity`, its loudness. Raises ValueError naming the option."""
    options = {key.replace("-", "_"): value for key, value in options.items()}
    severity = options.pop("severity", None)
    known = list(rule.Options.model_fields)
    for key in options:
        if key not in known:
            raise ValueError(f"{rule.name}: unknown option {key!r}{_did_you_mean(key, [*known, 'severity'])}")
    try:
        parsed = rule.Options.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{rule.name}: {first['loc'][0]}: {first['msg']}, got {first['input']!r}") from error
    return rule(parsed, Severity.parse(severity) if severity is not None else None)


def chosen_rules(settings: Settings) -> list[Rule]:
    """Instantiate the rules the settings choose, in order of code. The more exact selector wins."""
    wanted: dict[str, int] = {}
    for rule in all_rules().values():
        exactness = 0 if not settings.select and rule.category.on_by_default and not rule.preview else -1
        for selector in (*settings.select, *settings.extend_select):
            if rule in find_rules(selector):
                exact = _exactness(selector, rule)
                # A preview rule, and a pedantic one, must be asked for by its own name.
                if exact == 3 or (not rule.preview and (rule.category.on_by_default or selector != "ALL")):
                    exactness = max(exactness, exact)
        refused = max((_exactness(s, rule) for s in settings.ignore if rule in find_rules(s)), default=-1)
        if exactness > refused:
            wanted[rule.name] = exactness
    options = {find_rule(name).name: value for name, value in settings.rules.items()}
    return [build_rule(rule, options.get(name, {})) for name, rule in all_rules().items() if name in wanted]


def _exactness(selector: str, rule: type[Rule]) -> int:
    if selector == "ALL":
        return 0
    return 3 if selector in (rule.name, rule.code, *rule.aliases) else 1


def _did_you_mean(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known) or 'none'}"
