"""What a model promises: bands, statistics, manifest."""
