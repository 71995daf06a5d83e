"""Checks of servers and of the numbers they return."""
