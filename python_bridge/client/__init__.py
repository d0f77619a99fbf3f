"""Client of the REST API (extra ``client``), for Python programs that run elsewhere.

Importing this package imports no HTTP library; making a client does.
"""

from python_bridge.client.aio import AsyncClient, AsyncJob
from python_bridge.client.results import ExecutionResult, JobStatus, StreamEvent
from python_bridge.client.sync import Client, Job
from python_bridge.errors import BridgeError

__all__ = ["AsyncClient", "AsyncJob", "BridgeError", "Client", "ExecutionResult", "Job", "JobStatus", "StreamEvent"]
