"""
The engine: it takes records in, gathers them into calls under the limits, and settles what became of each.

May import: wire, and what is below it. `transport` is the one module that knows the HTTP library.
"""
