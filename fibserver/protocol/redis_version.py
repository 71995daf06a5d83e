"""The Redis server that fibserver presents itself as, in HELLO and INFO."""

__all__ = ["REDIS_NAME", "REDIS_VERSION"]

REDIS_VERSION = "7.4.0"
"""Version of Redis whose protocol this server speaks; clients choose features by it."""

REDIS_NAME = "redis"
"""Name of the server in HELLO. redis-py refuses client-side caching with any other name, and with
versions before 7.4; INFO has `fibserver_version`."""
