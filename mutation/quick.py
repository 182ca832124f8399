"""A pytest plugin for mutation runs: few examples, the same each time, no search for the smallest counterexample."""

import pytest
from hypothesis import Phase, settings

EXAMPLES = 80

settings.register_profile("mutation", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)
settings.load_profile("mutation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests ask for hundreds of examples; a mutant that lives past these has met a thousand in mutation/warm.py."""
    for item in items:
        function = getattr(item, "obj", None)
        asked = getattr(function, "_hypothesis_internal_use_settings", None)
        if asked is not None:
            fewer = settings(asked, max_examples=min(asked.max_examples, EXAMPLES))
            function._hypothesis_internal_use_settings = fewer
