"""Where every array comes from."""
