"""What operators see of a process: metrics, health, logs and traces."""
