"""`python -m service`: the gateway on the configured host and port."""

import uvicorn

from service.app import create_app
from service.settings import Settings
from service.telemetry.logs import configure_logging

settings = Settings.from_environment()
configure_logging(settings.log)
uvicorn.run(
    create_app(settings),
    host=settings.host,
    port=settings.port,
    log_config=None,
    # The line that we write for each request says more.
    access_log=False,
    # Streams still open when the service stops are cut after this long.
    timeout_graceful_shutdown=5,
)
