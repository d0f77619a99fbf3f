"""Protocol 1 without I/O: messages, typed parameters, and the state machines of both ends of a connection."""

PROTOCOL_VERSIONS = (1,)
"""The versions that this side speaks."""

__all__ = ["PROTOCOL_VERSIONS"]
