"""Case files: the rules tested as data, by engineers and lawyers (contract section 8).

`read` finds and checks the files, `run` decides a case through the same decoding, folding and rules as the worker.

"""

from transfer_gate.cases.files import Case, CaseFile, read
from transfer_gate.cases.run import CaseOutcome, junit, lines, run

__all__ = ["Case", "CaseFile", "CaseOutcome", "junit", "lines", "read", "run"]
