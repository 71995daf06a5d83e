"""Name and version of the Redis server that fibserver reports itself as in HELLO and INFO."""

__all__ = ["REDIS_NAME", "REDIS_VERSION"]

REDIS_VERSION = "7.4.0"
"""Version of Redis whose protocol this server implements; clients choose features by it."""

REDIS_NAME = "redis"
"""Name of the server in HELLO. redis-py rejects client-side caching for any other name, and for
versions before 7.4. INFO reports the real version as `fibserver_version`."""
