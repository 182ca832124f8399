"""Who did what: one record on the audit topic for every act of an operator (contract section 1)."""

import getpass
from collections.abc import AsyncIterator

import msgspec
from aiokafka import AIOKafkaProducer

from transfer_gate.admin.reading import bounds, committed_records
from transfer_gate.errors import InvalidInput
from transfer_gate.settings import PREFIX, Settings
from transfer_gate.stream.clients import broker_errors, client_options, connected
from transfer_gate.wire.acts import Act, decode_act, encode_act

__all__ = ["Act", "acts_of", "operator", "record_acts"]


def operator(settings: Settings) -> str:
    """Who acts: TRANSFER_GATE_OPERATOR, else the user of the operating system.

    A name, not a proof: what an operator can really do is for the cluster's ACLs to say. Raises InvalidInput when
    neither is known.
    """
    if settings.operator:
        return settings.operator
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise InvalidInput("nobody knows who you are", do=f"set {PREFIX}OPERATOR") from None


async def record_acts(settings: Settings, *acts: Act) -> None:
    """Append to the audit topic and wait until every in-sync replica has it. Raises BrokerUnavailable."""
    async with broker_errors(settings):
        options = client_options(settings)
        async with connected(AIOKafkaProducer(**options, acks="all", enable_idempotence=True)) as producer:
            for act in acts:
                await producer.send_and_wait(settings.topics.audit, encode_act(act), partition=0)


async def acts_of(settings: Settings, plan_id: str | None = None) -> AsyncIterator[Act]:
    """Every act on the audit topic in order, or those about one plan. Records that are no acts are passed over."""
    async with broker_errors(settings):
        _, ends = await bounds(settings, {settings.topics.audit: 1}, committed_only=True)
        async for records in committed_records(settings, ends):
            for record in records:
                try:
                    act = decode_act(record.value)
                except msgspec.DecodeError:
                    continue
                if plan_id is None or act.plan_id == plan_id:
                    yield act
