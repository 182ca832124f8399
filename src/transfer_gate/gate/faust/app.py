"""The Faust app, with its topics, agents and table; and the feed that it is for a gate."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final

import faust
from faust.auth import Credentials, OAuthCredentials
from faust.types import StreamT

from transfer_gate.errors import GateError
from transfer_gate.gate.assignment import Listener
from transfer_gate.gate.faust.hooks import ConsentTable, GateApp, PublishingAssignor
from transfer_gate.gate.members import Published
from transfer_gate.gate.memory import fetch_bytes
from transfer_gate.kafka.access import DENIED, denied
from transfer_gate.kafka.clients import client_options
from transfer_gate.observe.logs import summary
from transfer_gate.settings import Settings

#: Most records of one look at the fetched ones, over all partitions.
POLL_RECORDS: Final = 10_000


class FaustFeed:
    """The consumer group by way of Faust. See `Feed`."""

    def __init__(self, settings: Settings, partitions: int, published: Published) -> None:
        """`partitions` is the count that all topics of prospects share; `published` is what the group may know."""
        self._settings = settings
        self._partitions = partitions
        self._published = published
        self._app: GateApp | None = None

    async def run(self, listener: Listener) -> None:
        """See Feed."""
        app = self._app = build_app(self._settings, self._partitions, self._published, listener)
        # Faust's start lasts until the group has given out its partitions, so it may last for ever.
        starting = asyncio.create_task(app.start())
        refused = asyncio.create_task(app.until_refused())
        tasks: list[asyncio.Task[Any]] = [starting, refused]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                tasks = [refused, asyncio.create_task(app.wait_until_stopped())]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reason = app.crash_reason or (refused.result() if refused.done() else None)
        finally:
            for task in (starting, *tasks):
                task.cancel()
        if reason is not None:
            raise _error_of(reason) from reason.__cause__ if isinstance(reason, GateError) else reason

    async def stop(self) -> None:
        """See Feed."""
        if self._app is not None:
            await self._app.stop()

    async def rejoin(self) -> None:
        """See Feed."""
        if self._app is not None:
            await self._app.rejoin()

    async def fail(self, error: BaseException) -> None:
        """See Feed."""
        if self._app is not None:
            await self._app.crash(error)

    @property
    def failure(self) -> BaseException | None:
        """See Feed."""
        return None if self._app is None else self._app.crash_reason


def _error_of(reason: BaseException) -> GateError:
    """What the user reads of what ended Faust."""
    if isinstance(reason, GateError):
        return reason
    if isinstance(reason, DENIED):
        return denied(reason, "Read")
    return GateError(
        f"the stream stopped: {summary(reason)}",
        do="see the log above; nothing is lost, start again",
    )


def build_app(settings: Settings, partitions: int, published: Published, listener: Listener) -> GateApp:
    """A Faust app that serves a listener."""
    topics = settings.topics
    options = client_options(settings)
    timeout = settings.session_timeout_seconds
    app = GateApp(
        settings.app_id,
        listener,
        frozenset(topics.inputs()),
        published,
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

    def records(name: str) -> Any:
        return app.topic(name, partitions=partitions, key_type=bytes, value_type=bytes, acks=False)

    app.tables.add(
        ConsentTable(
            app,
            name="consent",
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            changelog_topic=records(topics.changelog),
        )
    )

    def agent(name: str, topic: str) -> None:
        @app.agent(records(topic), isolated_partitions=True, name=name)
        async def receive(stream: StreamT[Any]) -> None:
            async for event in stream.events():
                await listener.receive(topic, event.message.partition, event.message.value)

    agent("consents", topics.consents)
    agent("transfers", topics.transfers)
    agent("replays", topics.replay)
    agent("strays", topics.strays)
    return app


def _credentials(options: Mapping[str, Any]) -> Credentials | None:
    context: ssl.SSLContext | None = options.get("ssl_context")
    if (provider := options.get("sasl_oauth_token_provider")) is not None:
        return OAuthCredentials(oauth_cb=provider, ssl_context=context)
    if options["security_protocol"].startswith("SASL"):
        # Without a context Faust talks in clear whatever the protocol says; client_options made one for SASL_SSL.
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None
