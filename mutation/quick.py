"""A pytest plugin for mutation runs: the same examples each time, and no search for the smallest counterexample."""

from hypothesis import Phase, settings

settings.register_profile("mutation", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)
settings.load_profile("mutation")
