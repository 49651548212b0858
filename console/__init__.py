"""The console and the HTTP endpoint: a client of Kafka like any other, with views and no state."""
