"""Text for people: tables, numbers, progress, the live view."""
