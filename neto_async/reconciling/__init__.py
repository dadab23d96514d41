"""Settle doubt by reading customers' logs back: pure so far. May import models, outcomes, errors and wire."""
