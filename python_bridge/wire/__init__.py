"""Bytes to values and back: frames, encodings, the value model. Pure: no I/O, no clock, no loop."""
