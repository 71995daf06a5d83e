"""RESP: requests from bytes, replies to bytes."""
