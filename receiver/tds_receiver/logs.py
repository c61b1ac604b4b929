"""Logs of the receiver: one line of JSON an event, on stderr."""

import logging
from datetime import UTC, datetime

import orjson

# What every record has; the rest was given as `extra`.
USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: at, level, logger, message, what was given as `extra`, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        told: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told.update((name, value) for name, value in vars(record).items() if name not in USUAL)
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(told, default=str, option=orjson.OPT_UTC_Z).decode()


def log_as_json(level: int = logging.INFO) -> None:
    """Sends all logs of this process to stderr as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # As logging's manual has it for speed: nothing shows these, and a line is written for every webhook.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    # Its own lines about starting and stopping are ours to tell; its errors are not.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
