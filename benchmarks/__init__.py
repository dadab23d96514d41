"""
Speed beside what a user would write or pick instead, as ratios. ``python -m benchmarks`` from the project's folder.

`__main__` runs one module for each question and prints the tables; `measuring` and `tables` say how. The peers are
`by_hand` (what an expert writes in an afternoon), and the libraries of the dependency group ``bench``.
"""
