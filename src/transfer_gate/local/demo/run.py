"""The course of the demo, and what it leaves behind: nothing, unless `--keep` is given."""

import asyncio
import contextlib
import datetime as dt
import secrets
import shutil
import signal
import tempfile
from collections.abc import Coroutine
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct

from transfer_gate.errors import GateError, InvalidInput
from transfer_gate.kafka.session import Session, open_session
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.local.demo.screen import DemoScreen, beside
from transfer_gate.local.demo.streams import Feed, Watch, send_histories, send_transfers
from transfer_gate.local.demo.worker_process import WorkerProcess
from transfer_gate.local.download_display import shown_download
from transfer_gate.local.kafka import LocalKafka
from transfer_gate.local.loopback import free_port
from transfer_gate.local.sample import Sample
from transfer_gate.model.registry import Registry
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings
from transfer_gate.verify.account import Account, verify


def sample_registry() -> Path:
    """The folder of `examples/registry`. Raises InvalidInput when neither place has it."""
    package = files("transfer_gate.local").joinpath("registry")
    with as_file(package) as installed:
        places = (installed, Path(__file__).parents[4] / "examples" / "registry")
    for place in places:
        if (place / "policy.yaml").is_file():
            return place
    raise InvalidInput(
        "the sample registry is not installed", do="install transfer-gate again, or run from its source tree"
    )


PARTITIONS: Final = 4
#: How long the transfers take to send, seconds: long enough to watch, short enough to wait.
STREAM_SECONDS: Final = 15.0
#: A small demo need not take as long: at least so many transfers a second.
LEAST_RATE: Final = 1000.0
#: One person in so many transfers changes their mind.
TRANSFERS_PER_CHANGE: Final = 250
_CATCH_UP_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.1

_T = TypeVar("_T")


class DemoPlan(Struct, frozen=True, kw_only=True):
    """What to run. `own_kafka`: on a Kafka of its own, else on the cluster of the settings, under a unique prefix."""

    own_kafka: bool
    prospects: int = 20_000
    transfers: int = 50_000
    seed: int = 7
    keep: bool = False


class DemoResult(Struct, frozen=True, kw_only=True):
    """How it went. `leaks`: released transfers that were sent after an acknowledged change of mind of their prospect;
    `seconds`: from the first transfer to the end of the check.
    """

    feed: Feed
    watch: Watch
    account: Account
    leaks: int
    controls_released: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether everything promised was kept."""
        return self.account.counts.holds and not self.leaks


class DemoStage(Struct, frozen=True, kw_only=True):
    """What a demo runs on."""

    settings: Settings
    registry: Registry
    worker: WorkerProcess
    folder: Path
    kafka: LocalKafka | None


def run_demo(base: Settings, plan: DemoPlan, screen: DemoScreen) -> tuple[DemoResult, DemoStage]:
    """Run the demo under `base` and stop everything that it started, also when it fails or is interrupted.

    With `plan.keep` a demo that went to its end keeps running. SIGTERM counts as Ctrl-C. Raises KeyboardInterrupt,
    InvalidInput, BrokerUnavailable, GateError.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # A background job of a shell, or one under `nohup`, begins with SIGINT ignored, and then so would be what we raise.
    interrupted_before = signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="transfer-gate-demo-"))
    kafka: LocalKafka | None = None
    kept = False
    try:
        if plan.own_kafka:
            screen.say("starting a Kafka of its own")
            with shown_download() as progress:
                kafka = LocalKafka(folder / "kafka", progress=progress)
                kafka.start()
        stage = _prepare(base, folder, kafka)
        result = asyncio.run(_perform(stage, plan, screen))
        kept = plan.keep
        return result, stage
    finally:
        if not kept:
            if kafka is not None:
                kafka.stop()
            shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGINT, interrupted_before)
        signal.signal(signal.SIGTERM, before)


def _prepare(base: Settings, folder: Path, kafka: LocalKafka | None) -> DemoStage:
    app_id = f"demo-{secrets.token_hex(4)}"
    changes: dict[str, object] = {
        "app_id": app_id,
        "topic_prefix": f"{app_id}.",
        "registry": sample_registry(),
        "data_dir": folder / "data",
        "store": "memory://",
        "metrics_host": "127.0.0.1",
        "metrics_port": free_port(),
        "partitions": base.partitions or PARTITIONS,
        "log_format": "console",
    }
    if kafka is not None:
        plain = {
            name: field.default
            for name, field in Settings.model_fields.items()
            if name.startswith(("sasl_", "ssl_")) or name == "replication"
        }
        changes |= {
            **plain,
            "bootstrap_servers": kafka.bootstrap_servers,
            "security_protocol": "PLAINTEXT",
            "topic_prefix": "",
        }
    settings = base.model_copy(update=changes)
    worker = WorkerProcess(settings, folder / "worker.log")
    return DemoStage(
        settings=settings, registry=load_registry(settings.registry), worker=worker, folder=folder, kafka=kafka
    )


async def _perform(stage: DemoStage, plan: DemoPlan, screen: DemoScreen) -> DemoResult:
    async with contextlib.AsyncExitStack() as stack:
        if stage.kafka is None:
            screen.say(f"using {stage.settings.bootstrap_servers}; topics of the demo: {stage.settings.topic_prefix}*")
            stack.push_async_callback(_delete_topics, stage)
        stack.push_async_callback(stage.worker.stop)
        async with open_session(stage.settings) as session:
            result = await _stream(stage, session, plan, screen)
        if plan.keep:
            stack.pop_all()
        return result


async def _stream(stage: DemoStage, session: Session, plan: DemoPlan, screen: DemoScreen) -> DemoResult:
    settings, registry, worker = stage.settings, stage.registry, stage.worker
    failed = [report.error for report in await apply_topics(settings, registry) if report.error]
    if failed:
        raise GateError(f"topics could not be created: {failed[0]}", do="see: transfer-gate topics apply")
    await worker.start()
    screen.say(f"inventing {plan.prospects:,} prospects, starting a worker")
    now = dt.datetime.now(dt.UTC)
    sample = await asyncio.to_thread(Sample, registry, seed=plan.seed, now=now, prospects=plan.prospects)
    feed, watch = Feed(), Watch(settings, settings.topics.partners(registry))
    await asyncio.gather(send_histories(session, sample, feed), worker.until_ready())
    screen.say(
        f"{feed.consents:,} consent events sent; now {plan.transfers:,} transfers, while people change their minds"
    )
    began = screen.elapsed
    partitions = settings.partitions or PARTITIONS
    async with beside(watch.follow(session.reader, partitions)), screen.progress(feed, watch):
        rate, changes = max(plan.transfers / STREAM_SECONDS, LEAST_RATE), max(1, plan.transfers // TRANSFERS_PER_CHANGE)
        sending = send_transfers(session, sample, feed, count=plan.transfers, rate=rate, changes=changes)
        await _while_working(worker, sending)
        account = await _while_working(worker, verify(settings, registry, wait_seconds=_CATCH_UP_SECONDS))
        await _while_working(worker, _until_watched(watch, account))
    return DemoResult(
        feed=feed,
        watch=watch,
        account=account,
        leaks=len(feed.behind & watch.released_events),
        controls_released=len(feed.controls & watch.released_events),
        seconds=screen.elapsed - began,
    )


async def _while_working(worker: WorkerProcess, coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Await something as long as the worker lives. Raises GateError when it ends."""
    task = asyncio.create_task(coroutine)
    try:
        while not task.done():
            worker.check()
            await asyncio.wait({task}, timeout=_POLL_SECONDS)
        return task.result()
    finally:
        task.cancel()


async def _until_watched(watch: Watch, account: Account) -> None:
    """Wait until the display has seen what the check has seen; it reads the same topics a little later."""
    seen = account.counts.released + account.counts.quarantined
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CATCH_UP_SECONDS):
            await watch.until(seen)


async def _delete_topics(stage: DemoStage) -> None:
    """Remove the demo's topics from a cluster that is not its own; the prefix is unique, so nothing else is touched."""
    async with open_session(stage.settings) as session:
        cluster = session.cluster
        await cluster.delete([name for name in await cluster.topics() if name.startswith(stage.settings.topic_prefix)])
