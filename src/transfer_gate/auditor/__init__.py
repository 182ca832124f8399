"""An independent check of promises 1 and 5: every released record must follow from its decision record, its transfer,
the registry it names and the consent as of then. It only reads, and shares the rules with the gate but not its path.
"""
