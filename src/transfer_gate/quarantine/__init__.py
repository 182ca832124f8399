"""What operators do with quarantined records: look, plan, replay, discard; every change is audited."""
