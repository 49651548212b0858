"""``python -m bench``: measure the table's rows in one run and write docs/performance.md."""

import sys

if __name__ == "__main__":
    # Not above: a load's processes import this module anew, and need none of it.
    from bench.suite import main

    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped: nothing was written, and every process has ended")
