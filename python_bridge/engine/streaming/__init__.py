"""Field tokens out of an LM's stream."""
