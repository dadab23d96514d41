"""
Many records: the sources they come from, the run that streams them, and the reports on them.

May import: sending, wire, models, outcomes, errors.
"""
