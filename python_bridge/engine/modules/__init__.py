"""Kinds of programs."""
