"""`python -m workers.serve_worker`: vLLM engines, as many as memory allows, for the models asked for."""

import logging
import signal

from service.connection import connect
from service.settings import Settings
from workers.serving.engine_pool import EnginePool


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    settings = Settings.from_environment()
    pool = EnginePool(connect(settings.redis_url), settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pool.request_stop())
    pool.run()


if __name__ == "__main__":
    main()
