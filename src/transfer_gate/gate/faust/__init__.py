"""The only door to Faust, and to the insides of aiokafka's consumer."""
