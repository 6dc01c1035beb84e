"""`python -m service`: the gateway on the configured host and port."""

import os
import sys

import uvicorn

from service.access.key_ring import BadKeyFile, KeyRing
from service.access.policy import Unguarded, check_listening
from service.app import create_app
from service.requests.http_protocol import LimitedProtocol
from service.settings import Settings
from service.telemetry.logs import configure_logging

settings = Settings.from_environment()
configure_logging(settings.log)
try:
    check_listening(settings, KeyRing(settings.keys_path))
except (BadKeyFile, Unguarded) as error:
    print(error, file=sys.stderr)
    # Starting again would not help.
    sys.exit(os.EX_CONFIG)
uvicorn.run(
    create_app(settings),
    host=settings.host,
    port=settings.port,
    http=LimitedProtocol,
    ws="none",
    log_config=None,
    # The line that we write for each request says more.
    access_log=False,
    # Streams still open when the service stops are cut after this long.
    timeout_graceful_shutdown=5,
)
