"""Run one worker: check what it needs, decide until told to stop, leave cleanly."""

import asyncio
import gc
import logging
import signal
from collections.abc import Mapping
from typing import Final

from transfer_gate import __version__
from transfer_gate.errors import BrokerUnavailable, GateError
from transfer_gate.gate.faust.app import build_app
from transfer_gate.gate.faust.hooks import GateApp
from transfer_gate.gate.members import require_own_members
from transfer_gate.gate.retention import Kept, Retention
from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.kafka.limits import Limits
from transfer_gate.kafka.refusal import DENIED, denied
from transfer_gate.kafka.topics import check_topics
from transfer_gate.observe import metrics
from transfer_gate.observe.health import Pulse, serve_health
from transfer_gate.observe.tracebacks import summary
from transfer_gate.policy.written import is_compiled
from transfer_gate.records.sealing import UNSEALED, Sealing, load_master_keys
from transfer_gate.registry import load_registry
from transfer_gate.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

#: A stop that takes longer than this is cut short; the rounds themselves end within RELEASE_SECONDS of
#: `gate.partition`.
STOP_SECONDS: Final = 9.0
#: A worker that is silent for longer than this, without a turn of the loop and without a record that was decided, is
#: stuck. A decision that takes seconds is slow, not dead: a restart would only begin it again.
STUCK_SECONDS: Final = 60.0
#: New objects after which Python looks for garbage in cycles, and looks that a generation survives. A round makes tens
#: of thousands of objects, and none in cycles: with CPython's 700 the search was a fifth of the cost of folding.
GC_THRESHOLDS: Final = (50_000, 20, 100)


async def run_worker(settings: Settings, *, allow_older_registry: bool = False) -> None:
    """Decide until SIGTERM or SIGINT, then finish the rounds that run and return.

    Raises InvalidInput when the registry or the topics are not as they must be, GroupShared when another gate uses the
    app id, BrokerUnavailable, and any GateError that stopped the stream.
    """
    registry = load_registry(settings.registry)
    partitions = await check_topics(settings, registry)
    async with open_cluster(settings) as cluster:
        members = await cluster.group_subscriptions(settings.app_id, needs="Read")
        require_own_members(settings.app_id, settings.topics.inputs(), members)
        configs = await cluster.configs((*settings.topics.of_prospects(registry), settings.topics.ledger))
    pulse = Pulse()
    app, gate = build_app(
        settings,
        registry,
        partitions,
        _sealing_of(settings),
        Limits.of(configs),
        allow_older_registry=allow_older_registry,
        timer=pulse.timer,
        retention=_retention_of(settings, configs),
    )
    gc.freeze()  # modules, registry and rules stay for good: no later search need look at them
    gc.set_threshold(*GC_THRESHOLDS)
    compiled = "yes" if is_compiled() else "no"
    metrics.BUILD.info({"version": __version__, "compiled": compiled, "revision": registry.revision})
    metrics.REGISTRY_INFO.info({"revision": registry.revision, "jurisdiction": registry.policy.jurisdiction})
    metrics.REGISTRY_PARTNERS.set(len(registry.partners))
    beating = asyncio.create_task(pulse.beat())
    health = serve_health(
        settings.metrics_host,
        settings.metrics_port,
        lambda: gate.ready,
        why_not=gate.why_not_ready,
        alive=lambda: app.crash_reason is None and pulse.silent < STUCK_SECONDS,
        refresh=gate.tell,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        try:
            await gate.start()
        except Exception as error:
            raise BrokerUnavailable(
                f"the broker went away: {type(error).__name__}", do="start the worker again"
            ) from error
        logger.info(
            "worker of %s starts: version %s, registry %s, %d partitions",
            settings.app_id,
            __version__,
            registry.revision,
            partitions,
        )
        await _until(app, stop)
    finally:
        try:
            await asyncio.wait_for(_leave(app), STOP_SECONDS)
        except TimeoutError:
            logger.warning("the stop took longer than %s s and was cut short; nothing is lost", STOP_SECONDS)
        await gate.close()
        await health.close()
        beating.cancel()
    logger.info("worker stopped")


def _sealing_of(settings: Settings) -> Sealing:
    """With what payloads in quarantine are sealed. Raises InvalidInput for an unusable key file."""
    if settings.quarantine_key_file is None:
        logger.warning(
            "payloads in quarantine are not encrypted, and an erasure does not reach them: set %sQUARANTINE_KEY_FILE",
            PREFIX,
        )
        return UNSEALED
    return Sealing(load_master_keys(settings.quarantine_key_file))


def _retention_of(settings: Settings, configs: Mapping[str, Mapping[str, str]]) -> Retention:
    """The retention of quarantine, which every sweep reads anew."""
    topic = settings.topics.quarantine

    async def read() -> Kept:
        async with open_cluster(settings) as cluster:
            return Kept.of((await cluster.configs((topic,)))[topic])

    return Retention(Kept.of(configs[topic]), read)


async def _until(app: GateApp, stop: asyncio.Event) -> None:
    # Faust's start lasts until the group has given out its partitions, so it may last for ever.
    starting = asyncio.create_task(app.start())
    stopping = asyncio.create_task(stop.wait())
    refused = asyncio.create_task(app.until_refused())
    watching = [starting, stopping, refused]
    await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        ended = asyncio.create_task(app.wait_until_stopped())
        watching = [stopping, refused, ended]
        await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
    reason = app.crash_reason or (refused.result() if refused.done() else None)
    for task in watching:
        task.cancel()
    if reason is not None and not stop.is_set():
        if isinstance(reason, GateError):
            raise reason
        if isinstance(reason, DENIED):
            raise denied(reason, "Read") from reason
        raise GateError(
            f"the stream stopped: {summary(reason)}",
            do="see the log above; nothing is lost, start again",
        ) from reason


async def _leave(app: GateApp) -> None:
    await app.stop()
