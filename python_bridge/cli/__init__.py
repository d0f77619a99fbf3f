"""The `python-bridge` command."""
