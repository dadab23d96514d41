"""
Adapters for what services are made with, one file each: FastAPI, aiohttp, pytest, OpenTelemetry.

Each needs its extra and says so where it is missing; nothing here is imported by the library itself.
"""
