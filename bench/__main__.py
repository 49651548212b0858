"""``python -m bench``: measure the table's rows in one run and write docs/performance.md."""

if __name__ == "__main__":
    # Not above: a load's processes import this module anew, and need none of it.
    from bench.suite import main

    main()
