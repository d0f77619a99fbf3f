"""Evaluation of programs, and optimisers whose result is a program again."""
