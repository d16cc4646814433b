"""The chart: an open benchmark of faulty and healthy PyTorch trainings, for tools that say what is wrong with a run.

* `case.py` what a case is, and the registry; `program.py` the training loop that mutants change; `subjects.py` networks
  with their data.
* `faults/` injected faults, `restated.py` real ones written anew, `healthy.py` and `healthy_unseen.py` runs with
  nothing to be found. Thresholds are set on `healthy.py`, never on `healthy_unseen.py`.
* `harness.py` and `peers/` put a tool around a run; `score.py` counts; `run.py` runs; `page.py` writes the tables.
"""
