"""Faults that people really had, described on Stack Overflow or the PyTorch forum and written anew here."""

from benchmarks.chart.case import Cases

cases = Cases("restated")
