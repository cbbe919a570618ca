"""From a scene to batches of tiles, ahead of the engine."""
