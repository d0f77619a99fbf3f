"""Ways for bytes to come and go. A transport translates and nothing more."""
