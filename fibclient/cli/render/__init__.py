"""Output: documents, numbers, tables, progress bars and the live view."""
