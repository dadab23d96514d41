"""Journals of imports: protocol, file, database, writing thread. May import: sending, wire, outcomes, errors."""
