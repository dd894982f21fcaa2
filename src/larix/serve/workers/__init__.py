"""Several processes behind one server: a front that reads and dispatches, and workers that answer, each with a model's rows."""

from larix.serve.workers.dispatch import Dispatch
from larix.serve.workers.fleet import Fleet, FleetSettings
from larix.serve.workers.worker import attend

__all__ = ["Dispatch", "Fleet", "FleetSettings", "attend"]
