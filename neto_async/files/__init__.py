"""Bytes to rows: CSV, JSON, JSON Lines and Excel workbooks. May import: errors."""
