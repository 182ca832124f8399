"""Notices while a worker runs that its topics have changed: what stands behind their names, how many partitions they
have, who leads them, and whether they are compacted.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from transfer_gate.errors import GateError
from transfer_gate.gate.integrity import logs
from transfer_gate.gate.integrity.identity import change_between
from transfer_gate.gate.integrity.inputs import LeaderEpochs
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.kafka.topic_watch import Identities, TopicWatch, identities_of
from transfer_gate.observe.tracebacks import summary
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)

#: Between two looks at the identity of the topics while nothing is decided, seconds; a decision looks by itself.
IDENTITY_SECONDS: Final = 2.0


class TopicGuard:
    """Compares the topics with those of the last take-over."""

    def __init__(self, settings: Settings, book: Rulebook, watch: TopicWatch, epochs: LeaderEpochs) -> None:
        self._settings = settings
        self._uncompacted = (book.consents, book.strays, book.transfers)
        self._watch = watch
        self._epochs = epochs
        self._expected: Identities | None = None

    def expect(self, identities: Identities | None) -> None:
        """Compare with these from now on; None while partitions are taken over."""
        self._expected = identities

    def refusal(self, metadata: Any) -> Exception | None:
        """Why metadata of the topics (the response to a TopicIds request) keep this worker from deciding; None when
        they are those of the take-over.
        """
        self._epochs.learn(metadata)
        return None if self._expected is None else change_between(self._expected, identities_of(metadata))

    async def changes(self) -> AsyncIterator[GateError | RoundFailed]:
        """What changes while nothing is decided, each change once: GateError where only a person can help, RoundFailed
        where the next take-over finds out.
        """
        looked = time.monotonic()
        while True:
            await asyncio.sleep(min(IDENTITY_SECONDS, logs.POLICY_SECONDS))
            change: GateError | RoundFailed | None = await self._identity_change()
            if change is None and time.monotonic() - looked >= logs.POLICY_SECONDS:
                looked = time.monotonic()
                change = await self._compaction()
            if change is not None:
                yield change

    async def _identity_change(self) -> GateError | RoundFailed | None:
        expected = self._expected
        if expected is None:
            return None
        try:
            change = change_between(expected, await self._watch.look())
        except RoundFailed as error:
            change = error
        except Exception as error:  # noqa: BLE001 - what only watches must not end
            logger.warning("the topics can't be looked at", extra={"error": summary(error)})
            return None
        if change is None or self._expected is not expected:
            return None
        self._expected = None  # once
        return change

    async def _compaction(self) -> logs.Compacted | None:
        """That a topic is compacted whose every record counts."""
        try:
            await logs.require_no_compaction(self._settings, self._uncompacted)
        except logs.Compacted as error:
            return error
        except Exception as error:  # noqa: BLE001 - what only watches must not end
            logger.warning("the settings of the topics can't be looked at", extra={"error": summary(error)})
        return None
