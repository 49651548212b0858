"""Kafka: settings, topics, fenced producer, state view, and a broker for a laptop."""
