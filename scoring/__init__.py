"""The data plane: scoring agents that answer requests with the deployment's current asset."""
