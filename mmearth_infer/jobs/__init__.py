"""Many scenes at once: what a job is, what it will cost, and how it is run."""
