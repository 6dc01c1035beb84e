"""`python -m workers.serve_worker`: vLLM engines, as many as memory allows, for the models asked for."""

import logging
import signal

from service.connection import connect
from service.settings import Settings
from service.telemetry.logs import configure_logging
from workers.serving.engine_pool import EnginePool


def main() -> None:
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    settings = Settings.from_environment()
    configure_logging(settings.log)
    pool = EnginePool(connect(settings.redis_url), settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pool.request_stop())
    pool.run()


if __name__ == "__main__":
    main()
