"""LMs by name, and the one that stays on the loop."""
