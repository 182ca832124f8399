"""Run one worker: check what it needs, decide until SIGTERM or SIGINT, leave cleanly."""

import asyncio
import contextlib
import datetime as dt
import gc
import logging
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from transfer_gate import __version__
from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.gate.assignment import Feed, Gate
from transfer_gate.gate.faust.app import FaustFeed
from transfer_gate.gate.integrity.identity import TopicGuard
from transfer_gate.gate.integrity.logs import LeaderEpochs
from transfer_gate.gate.members import published_by, require_alone, require_own_members
from transfer_gate.gate.memory import Memory
from transfer_gate.gate.monitoring import Deleted, Lag, Meter, set_gauges
from transfer_gate.gate.originals import Originals
from transfer_gate.gate.partition import Shared, utc_now
from transfer_gate.gate.retention import Kept, Retention
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, SliceFactory
from transfer_gate.gate.takeover import TakeOver
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.session import open_session
from transfer_gate.kafka.sizes import ANY_SIZE, Limits
from transfer_gate.kafka.topic_watch import TopicWatch
from transfer_gate.kafka.topics import check_topics
from transfer_gate.kafka.watermarks import Watermarks
from transfer_gate.model.registry import Registry
from transfer_gate.observe import metrics
from transfer_gate.observe.health import Pulse, serve_health
from transfer_gate.policy.written import is_compiled
from transfer_gate.records.partitioner import Placement
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


class Worker:
    """A gate, and what it needs beside its feed: connections that all partitions share, the watch over the topics, and
    measurements.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        partitions: int,
        feed: Feed,
        *,
        sealing: Sealing = UNSEALED,
        limits: Limits = ANY_SIZE,
        allow_older_registry: bool = False,
        clock: Callable[[], dt.datetime] = utc_now,
        timer: Callable[[], float] = time.perf_counter,
        retention: Retention | None = None,
    ) -> None:
        """`partitions` is the count that all topics of prospects share; `timer` counts the seconds of a round, and is
        looked at for every record.
        """
        options = client_options(settings)
        placement = Placement(settings.partitioner, partitions)
        book = Rulebook.of(settings.topics, registry, placement, limits, settings.bounds)
        watched = (*book.inputs, book.changelog, book.ledger)
        self._watch = TopicWatch(options, watched)
        epochs = LeaderEpochs(self._watch.epoch_ends)
        self._guard = TopicGuard(settings, book, self._watch, epochs)
        self._watermarks = Watermarks(options, book.waited_for, watched, self._guard.refusal)
        self._reader = Reader(settings, options)
        self._originals = Originals(self._reader, (book.transfers, book.replay), partitions)
        self._lag = Lag(options, book.inputs)
        self._deleted = Deleted(self._lag, (book.transfers, book.replay))
        self._take_over = TakeOver(
            settings,
            options,
            book,
            slice_factory(settings),
            watch=self._watch,
            guard=self._guard,
            watermarks=self._watermarks,
            deleted=self._deleted,
            clock=clock,
            allow_older_registry=allow_older_registry,
        )
        shared = Shared(
            book=book,
            watermark=self._watermarks,
            meter=Meter(book),
            round_records=settings.max_round_records,
            inbox_records=settings.max_inbox_records,
            clock=clock,
            timer=timer,
            sealing=sealing,
            memory=Memory(settings.max_inbox_bytes, settings.max_output_bytes),
            epochs=epochs,
            retention=retention,
            originals=self._originals,
            deleted=self._deleted,
        )
        self.gate = Gate(feed, self._take_over, shared)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect what all partitions share. Raises aiokafka's connection errors."""
        await self._watermarks.start()
        await self._watch.start()
        self._watching = asyncio.create_task(self._follow_topics(), name="topics")
        await self._lag.start(self.gate.partitions)
        self._deleted.start()

    async def close(self) -> None:
        """Give everything up."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self.gate.release()
        await self._take_over.close()
        await self._watch.close()
        await self._reader.close()
        await self._deleted.close()
        await self._lag.close()
        await self._watermarks.close()

    def set_gauges(self) -> None:
        """Set the gauges of the partitions to what is so now."""
        gate = self.gate
        snapshots = (partition.snapshot for partition in gate.partitions.values())
        set_gauges(snapshots, self._lag, ready=gate.ready, stopped=gate.why_stopped)

    def why_not_ready(self) -> str:
        """A line for each partition that has stopped."""
        return "".join(f"partition {number}: {error}\n" for number, error in self.gate.why_stopped.items())

    async def _follow_topics(self) -> None:
        async for change in self._guard.changes():
            await self.gate.topics_changed(change)


async def run_worker(settings: Settings, *, allow_older_registry: bool = False) -> None:
    """Decide until SIGTERM or SIGINT, then finish the rounds that run and return.

    Raises InvalidInput when the registry or the topics are not as they must be, GroupShared when another gate uses the
    app id, TopicsShared when one decides on the same topics, BrokerUnavailable, and any GateError that stopped the
    stream.
    """
    registry = load_registry(settings.registry)
    async with open_session(settings) as session:
        cluster = session.cluster
        partitions = await check_topics(session, registry)
        members = await cluster.group_subscriptions(settings.app_id, needs="Read")
        require_own_members(settings.app_id, settings.topics.inputs(), members)
        await require_alone(cluster, settings)
        configs = await cluster.configs((*settings.topics.of_prospects(registry), settings.topics.ledger))
    pulse = Pulse()
    sealing = _sealing_of(settings)
    feed = FaustFeed(settings, partitions, published_by(sealing.masters))
    worker = Worker(
        settings,
        registry,
        partitions,
        feed,
        sealing=sealing,
        limits=Limits(configs),
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
        lambda: worker.gate.ready,
        why_not=worker.why_not_ready,
        alive=lambda: feed.failure is None and pulse.silent < STUCK_SECONDS,
        refresh=worker.set_gauges,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        try:
            await worker.start()
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
        await _serve(feed, worker.gate, stop)
    finally:
        try:
            await asyncio.wait_for(feed.stop(), STOP_SECONDS)
        except TimeoutError:
            logger.warning("the stop took longer than %s s and was cut short; nothing is lost", STOP_SECONDS)
        await worker.close()
        await health.close()
        beating.cancel()
    logger.info("worker stopped")


async def _serve(feed: Feed, gate: Gate, stop: asyncio.Event) -> None:
    """Let the feed serve the gate until `stop`. Raises what ended the feed before."""
    serving = asyncio.create_task(feed.run(gate))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            serving.result()
    finally:
        stopping.cancel()
        serving.cancel()
        await asyncio.wait((serving,))
        if not serving.cancelled():
            serving.exception()  # a stop that was requested is no failure


def slice_factory(settings: Settings) -> SliceFactory:
    """How the tables of a partition are kept.

    Raises InvalidInput when `rocksdb://` lacks its library, or its folder is another worker's.
    """
    if settings.store == "memory://":
        return lambda _topic, _number: MemorySlice()
    try:
        from transfer_gate.gate.rocksdb import RocksFolder
    except ImportError:
        raise InvalidInput(
            "the store rocksdb:// needs the library rocksdict", do="pip install 'transfer-gate[rocksdb]'"
        ) from None
    return RocksFolder(settings.data_dir / "state").open


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
        async with open_session(settings) as session:
            return Kept.of((await session.cluster.configs((topic,)))[topic])

    return Retention(Kept.of(configs[topic]), read)
