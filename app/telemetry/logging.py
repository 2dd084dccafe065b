"""Logs: one JSON object a line on stderr. Called once by every command, before anything else runs.

structlog and the standard library (faust, mode, aiokafka) go through the same formatter. Keys: timestamp (RFC 3339,
UTC), level, logger, message, service, role, then what the call added.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.types import EventDict, Processor, WrappedLogger

_NOISY = ("aiokafka.consumer.group_coordinator", "aiokafka.cluster")
"""They tell every heartbeat's rejoin on INFO."""


def configure_logging(level: str, service: str, role: str, stream: TextIO | None = None) -> None:
    """Send all logs of `level` and above to `stream`, by default the process's original stderr.

    faust replaces `sys.stdout` and `sys.stderr` by objects that log; writing to those would log for ever. Give faust's
    worker ``override_logging=False``, else it puts handlers of its own beside this one.
    """
    shared = _shared(service, role)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.__stderr__)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _in_order,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def configure_command_logging(level: str, service: str, command: str) -> None:
    """As `configure_logging`, for a command that ends: its own lines say when Kafka is away, the client's stay out."""
    configure_logging(level, service, command)
    for name in ("aiokafka", *_NOISY):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _shared(service: str, role: str) -> list[Processor]:
    def identify(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {"service": service, "role": role, **event}

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        identify,
    ]


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The four fixed keys first, under the names that log collectors already know."""
    head = {
        "timestamp": event.pop("timestamp"),
        "level": str(event.pop("level")).upper(),
        "logger": event.pop("logger"),
        "message": str(event.pop("event")),
    }
    return {**head, **event}
