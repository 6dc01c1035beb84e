"""`python -m service`: the gateway on the configured host and port."""

import uvicorn

from service.app import create_app
from service.settings import Settings

settings = Settings.from_environment()
uvicorn.run(
    create_app(settings),
    host=settings.host,
    port=settings.port,
    log_level="info",
    # Streams still open when the service stops are cut after this long.
    timeout_graceful_shutdown=5,
)
