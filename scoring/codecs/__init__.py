"""Bytes to requests and results to bytes, in two protocols. No broker, no clock."""
