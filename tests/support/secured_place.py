"""An installation of its own on a Kafka with TLS, logins and ACLs."""

import datetime as dt
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.support.access import Right
from tests.support.events import Events
from tests.support.registry import write_registry
from tests.support.secured_kafka import SecuredKafka
from tests.support.workers import Installation
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.model.registry import Registry
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings


class Place:
    """An installation of its own on the secured broker, whose worker is `worker` with the rights that it is given."""

    def __init__(self, secured: SecuredKafka, folder: Path, connection: dict[str, Any]) -> None:
        now = dt.datetime.now(dt.UTC)
        registry = write_registry(folder / "registry", now)
        self.registry: Registry = load_registry(registry)
        self.installation = Installation(registry=registry, folder=folder, partitions=1, **connection)
        self.topics = self.installation.topics
        self._names: dict[str, Any] = {
            "topic_prefix": self.topics.prefix,
            "app_id": self.topics.app_id,
            "registry": registry,
        }
        self.connection = connection
        self._secured = secured
        #: Settings of the super user.
        self.admin = self.settings(**secured.admin().model_dump(exclude_unset=True), partitions=1)
        self._events = Events(now)

    def settings(self, **connection: Any) -> Settings:
        return Settings(_env_file=None, **connection, **self._names)  # type: ignore[call-arg]

    def named(self, right: Right) -> Right:
        """A documented right with the names of this installation."""
        if right.kind == "topic":
            name = right.name.replace("transfer-gate-consent-", f"{self.topics.app_id}-consent-")
            return right._replace(name=f"{self.topics.prefix}{name}")
        return right._replace(name=right.name.replace("transfer-gate", self.topics.app_id))

    async def grant(self, rights: set[Right]) -> None:
        """Give `worker` these documented rights on the topics of this installation, and create them."""
        await self.give("worker", rights)
        await apply_topics(self.admin, self.registry)

    async def give(self, user: str, rights: set[Right]) -> Settings:
        """Give `user` documented rights on the topics of this installation; returns the settings that connect as it."""
        await self._secured.grant(user, map(self.named, rights))
        return self.settings(**self._secured.scram(user), partitions=1)

    async def deny(self, right: Right) -> None:
        """Take one away again, while a worker runs."""
        await self._secured.grant("worker", [self.named(right)], deny=True)

    async def send(self) -> None:
        """A person who consents to one partner, and a transfer to two: one is released, the other held."""
        async with AIOKafkaProducer(**client_options(self.admin), acks="all") as producer:
            consent = self._events.consent("p-1", "c-1", party_ids=["acme"])
            await producer.send_and_wait(self.topics.consents, consent, key=b"p-1")
            transfer = self._events.transfer("p-1", "t-1", ["acme", "helios"])
            await producer.send_and_wait(self.topics.transfers, transfer, key=b"p-1")
