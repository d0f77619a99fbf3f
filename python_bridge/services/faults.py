"""The one place where exceptions become errors of the closed set."""

import asyncio
import logging
import traceback

from python_bridge.errors import BridgeError

logger = logging.getLogger("python_bridge")


def to_bridge_error(exception: BaseException, where: str, *, debug: bool = False) -> BridgeError:
    """Return `exception` as an error that may cross the wire.

    What is not of the closed set already is a defect: it is logged in full, and its text stays here, for it may
    hold anything. In debug mode the traceback goes along.

    Args:
        where: the method that failed.
    """
    if isinstance(exception, BridgeError):
        error = exception
    elif isinstance(exception, asyncio.CancelledError):
        error = BridgeError("cancelled", f"{where} was cancelled")
    elif isinstance(exception, MemoryError | RecursionError):
        error = BridgeError("limit_exceeded", f"{where} needs more memory or nesting than the worker has")
    else:
        name = type(exception).__name__
        logger.error("%s failed with %s", where, name, exc_info=exception)
        error = BridgeError("internal", f"{where} failed in the worker with {name}; the worker's log has the details")
    if debug and error.traceback is None:
        error.traceback = "".join(traceback.format_exception(exception))
    return error


__all__ = ["to_bridge_error"]
