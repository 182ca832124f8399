"""Who is in the consumer group, and what its members publish there: another gate under the same APP_ID would take
partitions that it does not decide; a worker without a master key could not go on with what others wrapped by it.
"""

import contextlib
import os
import socket
from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.errors import GateError
from transfer_gate.kafka.access import AccessDenied
from transfer_gate.kafka.cluster import Cluster
from transfer_gate.model.topics import Topics
from transfer_gate.records.sealing import MasterKeys
from transfer_gate.settings import PREFIX, Settings


class Published(Struct, frozen=True):
    """What a worker publishes in its subscription: its name (host and process), and the ids of the master keys that it
    has, the current one first.
    """

    worker: str
    master_keys: tuple[str, ...] = ()


class _UserData(Struct):
    """Of the user data of Faust's assignor, the part that the gate adds; older versions add none."""

    transfer_gate: Published | None = None


_OWN: Final = "transfer_gate"
_DECODER: Final = msgspec.json.Decoder(_UserData)
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def published_by(masters: MasterKeys | None) -> Published:
    """What this process publishes."""
    return Published(f"{socket.gethostname()}/{os.getpid()}", () if masters is None else masters.ids)


def with_published(user_data: bytes, published: Published) -> bytes:
    """The user data of a member (KIP-54; of Faust a JSON object), with what the worker publishes. The leader of the
    group ignores it, of whatever version it is: Faust passes over members of the object that it does not know.
    """
    members = _MEMBERS.decode(user_data)
    members[_OWN] = msgspec.Raw(msgspec.json.encode(published))
    return msgspec.json.encode(members)


def published_in(user_data: bytes) -> Published | None:
    """What a member publishes; None for a worker of an older version, or a member that is no worker."""
    try:
        return _DECODER.decode(user_data).transfer_gate
    except msgspec.DecodeError:
        return None


class GroupShared(GateError):
    """Another gate, on other topics, is a member of the group."""


def require_own_members(group: str, inputs: Collection[str], subscriptions: Collection[frozenset[str]]) -> None:
    """Hold that every member of the group reads some input topic of this gate; an older version may read fewer of them.
    Raises GroupShared, which names the topics of the other gate.

    `subscriptions`: the topics of each member; empty for a member that the coordinator does not describe.
    """
    foreign = {topic for topics in subscriptions if not topics.intersection(inputs) for topic in topics}
    if foreign:
        raise GroupShared(
            f"the consumer group {group} has members that work on other topics: {', '.join(sorted(foreign))}. The "
            "group would give each gate partitions that the other one decides, and neither would decide all of its own",
            do=f"give each gate a {PREFIX}APP_ID of its own, or stop the other one "
            "(kafka-consumer-groups --describe --group ... --members --verbose lists its members)",
        )


class TopicsShared(GateError):
    """A gate of another app id is at work on the same topics."""


#: How the name of every changelog ends, behind the app id.
_CHANGELOG: Final = Topics(app_id="").changelog


async def require_alone(cluster: Cluster, settings: Settings) -> None:
    """Hold that no gate of another app id is at work on these topics: both would decide, and send, every transfer.

    Its changelog carries its app id, and the members of its group read our input topics. A group that we may not
    describe is passed over. Raises TopicsShared, BrokerUnavailable.
    """
    prefix, inputs = settings.topics.prefix, settings.topics.inputs()
    changelogs = [name for name in await cluster.topics() if name.startswith(prefix) and name.endswith(_CHANGELOG)]
    for changelog in sorted(changelogs):
        app_id = changelog.removeprefix(prefix).removesuffix(_CHANGELOG)
        if app_id in ("", settings.app_id):
            continue
        with contextlib.suppress(AccessDenied):
            if any(topics.intersection(inputs) for topics in await cluster.group_subscriptions(app_id)):
                raise TopicsShared(
                    f"another gate (app id {app_id}) is at work on the same topics: each of the two would decide, and "
                    "send to partners, every transfer",
                    do=f"stop one of them; to divide the work start more workers with one {PREFIX}APP_ID; two "
                    f"installations need a {PREFIX}TOPIC_PREFIX each",
                )
