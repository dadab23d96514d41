"""Settling doubt by reading customers' logs back. May import: importing, journals, sending, wire, outcomes, errors."""
