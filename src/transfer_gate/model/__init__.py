"""What exists: transfers, consent events, the folded state, partners, notices, decisions. No I/O, no clock."""
