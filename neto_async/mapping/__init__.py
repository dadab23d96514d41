"""Rows to logs: columns, words and times, and their TOML form. May import: files, wire, models, errors."""
