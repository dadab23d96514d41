"""
Adapters, one file each: FastAPI, aiohttp, pytest, OpenTelemetry, Redis, Procrastinate.

Each needs its extra and says so where it is missing; nothing here is imported by the library itself.
"""
