"""The twelfth look: 120 sound programs in people's own style, half on images, half on all else and habits of loops."""

import functools
import importlib
import pkgutil

from benchmarks.chart import sound
from benchmarks.chart.faults.plain import LEAST, told
from benchmarks.chart.second import SecondCases

cases = SecondCases("twelfth")
for module in pkgutil.iter_modules(sound.__path__, f"{sound.__name__}."):
    for program in getattr(importlib.import_module(module.name), "PROGRAMS", ()):
        loop = told(program)
        cases.recipe("script", LEAST)(functools.wraps(loop)(functools.partial(loop, wrong=False)))
