"""The application: everything that one process of `python-bridge serve` answers."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response

from python_bridge import __version__
from python_bridge.services.executor.executor import DSPyPipelineExecutor
from python_bridge.services.executor.prometheus import CONTENT_TYPE, to_prometheus
from python_bridge.settings import Settings
from python_bridge.store.history import History
from python_bridge.transports.http import problems
from python_bridge.transports.http.api import Api
from python_bridge.transports.http.catalogue import Catalogue
from python_bridge.transports.http.direct import Direct
from python_bridge.transports.http.guard import OPEN, Guard
from python_bridge.transports.http.pages import page
from python_bridge.transports.http.routes import routes
from python_bridge.transports.http.settings import HttpSettings
from python_bridge.transports.http.shared import Buckets, Shared

_READ = ["GET", "HEAD"]


def make_api(
    settings: HttpSettings,
    worker: Settings,
    lms: dict[str, Any] | None = None,
    shared: Shared | None = None,
    slot: int = 0,
) -> Api:
    """Return what the routes need.

    Args:
        worker: LMs by name, adapter, allowed imports.
        lms: ready LMs by name, for suites.
        shared: what it shares with other processes behind the port, of which it is number `slot`.

    Raises:
        BridgeError: `unavailable` when dspy is missing or the state folder cannot be written.
    """
    catalogue = Catalogue(Path(settings.programs))
    history = History(history_path(settings), settings.history)
    executor = DSPyPipelineExecutor(
        cache_enabled=settings.cache,
        mlflow_tracking=settings.mlflow,
        timeout=settings.timeout,
        lms=lms,
        models=catalogue,
        settings=worker,
    )
    return Api(settings, catalogue, executor, history, shared, slot)


def history_path(settings: HttpSettings) -> Path:
    """Return the file of executions, jobs and kept answers."""
    return Path(settings.state) / "history.db"


def create_app(api: Api) -> FastAPI:
    """Return the ASGI application over `api`, which it closes when it ends."""

    buckets = api.shared.buckets if api.shared is not None else Buckets(api.settings.rate, api.settings.burst)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None, None]:
        await api.start()
        try:
            yield
        except asyncio.CancelledError:  # a second signal: nothing is waited for
            return
        api.draining = True
        await api.peers.close()
        await api.stop_jobs()
        await api.executor.ashutdown()
        api.history.close()
        if api.shared is None:
            buckets.close()

    app = FastAPI(
        title="python-bridge",
        version=__version__,
        summary="DSPy programs over HTTP",
        lifespan=lifespan,
        docs_url=None,  # it would load its scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    app.include_router(routes(api))
    _add_plain_routes(app, api)
    app.add_middleware(Direct, api=api)
    app.add_middleware(Guard, settings=api.settings, buckets=buckets)
    # Before the guard: a browser asks without its token whether it may, and reads refusals too.
    if api.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(api.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "idempotency-key", "x-request-id"],
            expose_headers=["idempotent-replayed", "retry-after", "x-request-id"],
        )
    generate = app.openapi
    app.openapi = lambda: problems.describe(generate(), OPEN if api.settings.token_hashes else None)
    return app


def _add_plain_routes(app: FastAPI, api: Api) -> None:
    pages = {name: page(name) for name in ("index.html", "docs.html")}

    @app.api_route("/", methods=_READ, include_in_schema=False)
    async def console() -> Response:  # pyright: ignore[reportUnusedFunction]
        return pages["index.html"]

    @app.api_route("/docs", methods=_READ, include_in_schema=False)
    async def docs() -> Response:  # pyright: ignore[reportUnusedFunction]
        return pages["docs.html"]

    @app.api_route("/healthz", methods=_READ, include_in_schema=False)
    async def alive() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"status": "ok"}

    @app.api_route("/readyz", methods=_READ, include_in_schema=False)
    async def ready() -> Response:  # pyright: ignore[reportUnusedFunction]
        return JSONResponse(api.health(), 503 if api.draining else 200)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        stats = await api.stats()
        gauges = {"http_running": stats["running"], "http_processes": len(stats["processes"])}
        return Response(to_prometheus(stats, gauges), media_type=CONTENT_TYPE)


__all__ = ["create_app", "history_path", "make_api"]
