"""`ingest` is killed, and its brokers go away: whatever it answered with 200 is there."""

import asyncio
from pathlib import Path
from typing import Final, Self

import aiohttp

from tests.conftest import FreshKafka, Namespace
from tests.support.clients import read_all
from tests.support.ingest_service import IngestService, opt_outs, post, signed
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings

REGISTRY: Final = Path(__file__).parents[2] / "examples" / "registry"
#: Senders at the same time, and what each has to have acknowledged before something is killed.
SENDERS: Final = 8
ENOUGH: Final = 150


class Senders:
    """Send opt-outs of one person after the other, until the context ends; what fails is another person's next time."""

    def __init__(self, service: IngestService) -> None:
        self.acknowledged: list[str] = []
        #: Answers with 503, and the least wait that they ask for.
        self.later: list[str] = []
        self._service = service
        self._tasks = [asyncio.create_task(self._send(number)) for number in range(SENDERS)]

    async def until(self, count: int) -> None:
        """Wait for so many more acknowledgements."""
        wanted = len(self.acknowledged) + count
        while len(self.acknowledged) < wanted:
            for task in self._tasks:
                assert not task.done(), task.exception()
            await asyncio.sleep(0.01)

    async def until_refused(self) -> None:
        """Wait for answers with 503."""
        wanted = len(self.later) + SENDERS
        while len(self.later) < wanted:
            assert not any(task.done() for task in self._tasks)
            await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, sender: int) -> None:
        async with aiohttp.ClientSession() as session:
            number = 0
            while True:
                number += 1
                who = f"p-{sender}-{number}"
                body = opt_outs(who)
                try:
                    address = f"{self._service.address}/ingest/signed"
                    async with session.post(address, data=body, headers=signed(body)) as answer:
                        await answer.read()
                        if answer.status == 200:
                            self.acknowledged.append(who)
                        else:
                            assert answer.status == 503, answer.status
                            self.later.append(answer.headers["retry-after"])
                except aiohttp.ClientError:
                    await asyncio.sleep(0.01)


async def test_what_was_acknowledged_survives_kills_and_brokers_that_go_away(
    fresh_kafka: FreshKafka, namespace: Namespace, tmp_path: Path
) -> None:
    """`kill -9` of the service, then of the broker: 503 with Retry-After meanwhile, and it goes on by itself."""
    kafka = fresh_kafka()
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol="PLAINTEXT",
        topic_prefix=namespace.topic_prefix,
        app_id=namespace.app_id,
        registry=REGISTRY,
        partitions=2,
        ingest_ack_seconds=1,
    )
    await apply_topics(settings, load_registry(REGISTRY))
    environment = {f"TRANSFER_GATE_{name.upper()}": str(getattr(settings, name)) for name in settings.model_fields_set}
    body = opt_outs("p-other")
    async with (
        IngestService(environment, tmp_path) as service,
        IngestService(environment, tmp_path, name="other") as other,
    ):
        await service.start()
        async with Senders(service) as senders:
            await senders.until(ENOUGH)
            service.kill()
            await service.start()
            await senders.until(ENOUGH)
            kafka.kill()
            await senders.until_refused()
            assert set(senders.later) == {"5"}
            assert (await service.get("/readyz"))[0] == 200
            # One that is started meanwhile answers, and waits for them.
            await other.start(ready=False)
            status, _, headers = await post(other, "signed", body, signed(body))
            assert (status, headers["retry-after"]) == (503, "5")
            assert (await other.get("/readyz")) == (503, "not ready\nthe brokers were not reached yet\n")
            kafka.start()
            await senders.until(ENOUGH)
            await other.until(lambda: _accepts(other, body), "accepting")
            assert await other.stop() == 0, other.log()
        assert await service.stop() == 0, service.log()
    read = [record async for record in read_all(settings.bootstrap_servers, [settings.topics.consents], 2)]
    there = {record.key.decode() for record in read if record.key is not None}
    assert set(senders.acknowledged) - there == set()
    assert "Traceback" not in service.log()


async def _accepts(service: IngestService, body: bytes) -> bool:
    return (await post(service, "signed", body, signed(body)))[0] == 200
