"""What a server tells of itself: metrics, logs, traces."""

from larix.serve.telemetry.access import Call, access
from larix.serve.telemetry.logs import Logs, line, logging_to, of_request
from larix.serve.telemetry.traces import Traces, below, to_collector

__all__ = ["Call", "Logs", "Traces", "access", "below", "line", "logging_to", "of_request", "to_collector"]
