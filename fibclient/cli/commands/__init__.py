"""The commands of `fibclient`."""
