"""Again one program and more for each type of fault, with sound twins, by three other authors; most see images."""

from benchmarks.chart import scripts
from benchmarks.chart.faults.plain import programs

cases = programs("scripts", scripts)
