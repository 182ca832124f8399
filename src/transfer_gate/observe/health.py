"""HTTP on the metrics port: `/metrics`, `/healthz`, `/readyz` (contract section 7). Binds where the settings say,
127.0.0.1 by default.
"""

from collections.abc import Callable

from aiohttp import web
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from transfer_gate.errors import InvalidInput
from transfer_gate.observe.metrics import REGISTRY
from transfer_gate.settings import PREFIX


async def serve_health(host: str, port: int, ready: Callable[[], bool]) -> web.AppRunner:
    """Serve until the returned runner is cleaned up. `/healthz` answers as long as the event loop turns; `/readyz` is
    200 once every assigned partition decides, else 503.

    Raises InvalidInput when the port is taken.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(status=503, text="not ready\n")

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
