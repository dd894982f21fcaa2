"""Training: fit, its settings, and the run it leaves behind."""

from larix.train.batchfile import read_batch
from larix.train.evaluate import evaluate, predict
from larix.train.fit import fit
from larix.train.memory import keep_freed_memory
from larix.train.report import write_report
from larix.train.run import Run
from larix.train.schedule import Schedule
from larix.train.settings import Settings
from larix.train.step import Learner, step

__all__ = [
    "Learner",
    "Run",
    "Schedule",
    "Settings",
    "evaluate",
    "fit",
    "keep_freed_memory",
    "predict",
    "read_batch",
    "step",
    "write_report",
]
