"""Whether a tracking server listens at all: MLflow's own retries would ask one that is down for a minute and more."""

import socket
import urllib.request
from urllib.parse import urlsplit

_CONNECT_S = 5.0
_PORTS = {"http": 80, "https": 443}


def check_reachable(uri: str) -> None:
    """Connect to the server of an address and let go. What is no server, or stands behind a proxy, is not tried.

    Raises:
        OSError: nobody listens there.
    """
    parts = urlsplit(uri)
    if parts.scheme not in _PORTS or parts.hostname is None or _has_proxy(parts.scheme, parts.hostname):
        return
    socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), _CONNECT_S).close()


def _has_proxy(scheme: str, host: str) -> bool:
    proxies = urllib.request.getproxies()
    return ("all" in proxies or scheme in proxies) and not urllib.request.proxy_bypass(host)


__all__ = ["check_reachable"]
