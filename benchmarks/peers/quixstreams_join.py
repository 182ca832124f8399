"""quixstreams: both topics in one stream, the last consent in its state (RocksDB with a changelog), route by branch.

At least once. Its consumer takes the topics as they come: transfers do not wait for consents.
"""

from typing import Any

from quixstreams import Application, State

from benchmarks.peers import job


def main() -> None:
    app = Application(
        broker_address=job.BOOTSTRAP_SERVERS,
        consumer_group=job.GROUP,
        auto_offset_reset="earliest",
        state_dir=job.DATA_DIR,
        loglevel="ERROR",
    )
    transfers = app.topic(job.TRANSFERS, key_deserializer="bytes", value_deserializer="bytes")
    consents = app.topic(job.CONSENTS, key_deserializer="bytes", value_deserializer="bytes")
    partner = app.topic(job.PARTNER, key_serializer="bytes", value_serializer="bytes")
    quarantine = app.topic(job.QUARANTINE, key_serializer="bytes", value_serializer="bytes")

    def join(tagged: tuple[bool, bytes], state: State) -> tuple[bool, bytes] | None:
        is_transfer, value = tagged
        if is_transfer:
            consent = state.get("consent")
            return job.grants(consent.encode() if consent is not None else None, value), value
        state.set("consent", value.decode())
        return None

    def value_of(routed: tuple[bool, bytes]) -> bytes:
        return routed[1]

    both = app.dataframe(consents).apply(lambda value: (False, value))
    both = both.concat(app.dataframe(transfers).apply(lambda value: (True, value)))
    routed: Any = both.apply(join, stateful=True).filter(lambda answer: answer is not None)
    routed.filter(lambda answer: answer[0]).apply(value_of).to_topic(partner)
    routed.filter(lambda answer: not answer[0]).apply(value_of).to_topic(quarantine)
    app.run()


if __name__ == "__main__":
    main()
