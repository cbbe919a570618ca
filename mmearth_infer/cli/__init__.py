"""The command line: commands found by entry point, errors in two lines."""
