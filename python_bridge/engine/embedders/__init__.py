"""Embedders by name: texts in, vectors out."""
