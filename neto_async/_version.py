"""The version of the package, which pyproject.toml reads from here: bundles may come without their metadata."""

VERSION = "0.1.0"
