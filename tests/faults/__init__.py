"""Faults: what goes wrong around the workers, with real servers and processes."""

import pytest

# The checks at the end of each fault are made there: a failed one has to show what it found.
pytest.register_assert_rewrite("tests.faults.plant")
