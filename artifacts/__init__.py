"""Model files: store, digest, schema inference, loading and verification."""
