"""The cluster from an operator's side: which topics exist, how they are set, what is missing. Needs aiokafka."""
