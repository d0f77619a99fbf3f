"""Paired measurements: each of ours beside its baseline, in one run on one machine."""
