"""What `polymerge merge` runs once it knows its options."""

import signal
import sys

from service.contracts.local_merge import LocalMerge
from service.recipes.refusal import Refused
from workers.local_merge.run import run
from workers.local_merge.unusable import Unusable


def main(options: LocalMerge) -> int:
    """The exit code; whatever went wrong for a reason is told without a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(options)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Refused as error:
        return _fail("\n".join(f"{item.pointer or '/'}: {item.detail}" for item in error.problems))
    except Unusable as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return 0


def _fail(text: str, code: int = 1) -> int:
    for line in text.splitlines():
        print(f"Error: {line}", file=sys.stderr)
    return code
