"""Log lines, for people or as JSON; each names the request that it was written for."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from service.settings import LogStyle
from service.telemetry.request import current_request_id


def configure_logging(style: LogStyle) -> None:
    """Every logger of this process writes to stderr in this style."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLine() if style == "json" else TextLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


class TextLine(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        pairs = [f"{name}={value}" for name, value in _fields(record).items()]
        line = " ".join([super().formatMessage(record), *pairs])
        # What clients have sent may be in it: it must not look like lines of their own.
        return line.replace("\r", "\\r").replace("\n", "\\n")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the line was given as `extra={"fields": …}`, and the request's id."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    request = current_request_id()
    return fields | {"request_id": request} if request else fields
