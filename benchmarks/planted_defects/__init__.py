"""Planted defects: clean datasets of every format, the defects of the field planted into them, and who finds them.

    python -m benchmarks.planted_defects.run            (from the root of the repository; `--help` says the rest)

* `scenes` draws pictures with objects whose geometry is known; `clean` writes them as datasets of every format.
* `plants_<what>` spoil one thing each, the way it happens in the wild: an export bug, an edited file, a tool's habit.
* `checks` is the list of checks that any tool has; it generates docs/data-checks.md.
* `peers` runs other linters on the same files, and says which of their issues count for which check.
"""
