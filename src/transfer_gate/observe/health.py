"""HTTP on the metrics port: `/metrics`, `/healthz`, `/readyz` (contract section 7). Binds where the settings say,
127.0.0.1 by default.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from transfer_gate.errors import InvalidInput
from transfer_gate.observe.metrics import REGISTRY
from transfer_gate.settings import PREFIX


def _nothing() -> None:
    """For programs whose metrics are always up to date."""


def _alive() -> bool:
    """For programs that have nothing to say beyond answering at all."""
    return True


async def serve_health(
    host: str,
    port: int,
    ready: Callable[[], bool],
    *,
    why_not: Callable[[], str] = str,
    alive: Callable[[], bool] = _alive,
    refresh: Callable[[], None] = _nothing,
    registry: CollectorRegistry = REGISTRY,
) -> web.AppRunner:
    """Serve until the returned runner is cleaned up; docs/reference/metrics.md says what each answer means.

    `why_not`: lines behind "not ready". `refresh` sets what is only measured when somebody asks, before each answer of
    `/metrics`.

    Raises InvalidInput when the port is taken.
    """
    one_at_a_time = asyncio.Lock()

    async def metrics(_: web.Request) -> web.Response:
        async with one_at_a_time:  # a refresh must not change the gauges that another answer is being written from
            refresh()
            # Thousands of series take a tenth of a second to write: not on the loop that decides.
            body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if alive() else web.Response(status=503, text="not alive\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(status=503, text=f"not ready\n{why_not()}")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise InvalidInput(
            f"the metrics port {host}:{port} can't be opened: {error.strerror or error}",
            do=f"set {PREFIX}METRICS_PORT to a free port, or 0 for any",
        ) from error
    return runner
