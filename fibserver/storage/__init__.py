"""What is kept on disk: blocks as files."""
