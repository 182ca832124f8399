"""All that talks to Kafka, but for what Faust does. What other packages see of its client are two types: a record as it
was read, and a partition of a topic.
"""

from aiokafka import ConsumerRecord, TopicPartition

__all__ = ["ConsumerRecord", "TopicPartition"]
