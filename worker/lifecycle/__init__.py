"""The rules of the lifecycle, pure: no clock, no broker, no file. Schemas and stdlib only."""
