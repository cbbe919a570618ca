"""From finished strips to a georeferenced store."""
