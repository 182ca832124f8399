"""The Faust app: which topics, which agents, which table."""

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import faust
from faust.types import StreamT

from transfer_gate.errors import InvalidInput
from transfer_gate.gate.assignment import Gate
from transfer_gate.gate.faust.hooks import GateApp, PublishingAssignor
from transfer_gate.gate.faust.table import ConsentTable
from transfer_gate.gate.members import published_by
from transfer_gate.gate.memory import RESPONSE_BYTES, fetch_bytes
from transfer_gate.gate.retention import Retention
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, SliceFactory
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.limits import ANY_SIZE, Limits
from transfer_gate.model.registry import Registry
from transfer_gate.records.partitioner import Placement
from transfer_gate.records.sealing import UNSEALED, Sealing
from transfer_gate.settings import Settings

#: Most records of one look at the fetched ones, over all partitions.
POLL_RECORDS: Final = 10_000


def build_app(
    settings: Settings,
    registry: Registry,
    partitions: int,
    sealing: Sealing = UNSEALED,
    limits: Limits = ANY_SIZE,
    *,
    allow_older_registry: bool = False,
    timer: Callable[[], float] = time.perf_counter,
    retention: Retention | None = None,
) -> tuple[GateApp, Gate]:
    """A Faust app that decides, and its gate. `partitions` is the count that all topics of prospects share; `timer`
    counts the seconds of a round, and is looked at for every record.
    """
    topics = settings.topics
    options = client_options(settings)
    timeout = settings.session_timeout_seconds
    app = GateApp(
        settings.app_id,
        broker=[f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=_credentials(options),
        store="memory://",
        datadir=str(settings.data_dir / "faust"),
        web_enabled=False,
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=partitions,
        key_serializer="raw",
        value_serializer="raw",
        broker_session_timeout=timeout,
        broker_heartbeat_interval=timeout / 3,
        broker_request_timeout=max(90.0, timeout + 10),
        broker_rebalance_timeout=max(60.0, timeout),
        broker_max_poll_records=POLL_RECORDS,
        consumer_max_fetch_size=fetch_bytes(len(topics.inputs()) * partitions),
        consumer_auto_offset_reset="earliest",
        table_standby_replicas=0,
        stream_wait_empty=False,
        PartitionAssignor=PublishingAssignor,
    )
    table = cast(
        ConsentTable,
        app.tables.add(
            ConsentTable(
                app,
                name="consent",
                partitions=partitions,
                key_type=bytes,
                value_type=bytes,
                changelog_topic=app.topic(
                    topics.changelog,
                    partitions=partitions,
                    key_type=bytes,
                    value_type=bytes,
                    internal=False,
                    acks=False,
                ),
            )
        ),
    )
    book = Rulebook.of(topics, registry, Placement(settings.partitioner, partitions), limits, settings.bounds)
    gate = Gate(
        settings,
        options,
        book,
        table.slices,
        slice_factory(settings),
        sealing=sealing,
        rejoin=app.rejoin,
        crash=app.crash,
        allow_older_registry=allow_older_registry,
        timer=timer,
        retention=retention,
    )
    app.batch_topics = frozenset(book.inputs)
    app.consumer_options = {"fetch_max_bytes": RESPONSE_BYTES}
    app.published = published_by(sealing.masters)
    app.may_fetch = gate.may_fetch
    app.look = gate.look
    app.on_assigned = gate.open
    app.on_released = gate.release

    def batches(name: str) -> Any:
        return app.topic(name, partitions=partitions, key_type=bytes, value_type=bytes, acks=False)

    def agent(name: str, topic: str) -> None:
        @app.agent(batches(topic), isolated_partitions=True, name=name)
        async def receive(stream: StreamT[Any]) -> None:
            async for event in stream.events():
                await gate.receive(topic, event.message.partition, event.message.value)

    agent("consents", topics.consents)
    agent("transfers", topics.transfers)
    agent("replays", topics.replay)
    agent("strays", topics.strays)

    return app, gate


def slice_factory(settings: Settings) -> SliceFactory:
    """How the consent table of a partition is kept.

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


def _credentials(options: Mapping[str, Any]) -> faust.SASLCredentials | faust.SSLCredentials | None:
    context: ssl.SSLContext | None = options.get("ssl_context")
    if options["security_protocol"].startswith("SASL"):
        # Without a context Faust talks in clear whatever the protocol says; client_options made one for SASL_SSL.
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None
