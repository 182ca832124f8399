"""The types of the Kafka client that others see: a record as it was read, and a partition of a topic."""

from aiokafka import ConsumerRecord, TopicPartition

__all__ = ["ConsumerRecord", "TopicPartition"]
