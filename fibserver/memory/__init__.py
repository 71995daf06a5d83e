"""The shared-memory arena: layout, growth and contents."""
