"""RESP, the Redis serialization protocol: request parser and reply encoding."""
