"""The control plane: validates commands, keeps the deployment state table, writes the audit log."""
