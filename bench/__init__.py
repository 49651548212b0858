"""Measurements: ``make bench``. Each is a ratio to a peer in the same run on the same broker."""
