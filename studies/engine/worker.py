"""``python -m studies.engine.worker``: the command line of jobs that are already in a queue. See `runtime.worker`."""

import sys

from studies.engine.runtime.worker import main

if __name__ == "__main__":
    sys.exit(main())
