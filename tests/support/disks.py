"""What a disk does to a log: a byte changes, and the broker that holds it does not look."""

from transfer_gate.local.kafka import LocalKafka


def spoil(broker: LocalKafka, topic: str, value: bytes) -> None:
    """Change a byte of the last record that holds `value`, in partition 0, on the disk of one broker. It is restarted:
    one that was stopped in order reads nothing of its logs when it starts.
    """
    assert broker.stop()
    (segment,) = broker.data_dir.glob(f"data/{topic}-0/*0.log")
    data = bytearray(segment.read_bytes())
    data[data.rindex(value)] ^= 0x01
    segment.write_bytes(data)
    broker.start()
