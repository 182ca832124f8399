"""The decision: dated rules, the fold of consent events, explanations. Pure: no I/O, no clock."""
