"""Whether topics, offsets and logs are those that earlier commits knew. What is not stops a partition, or all."""
