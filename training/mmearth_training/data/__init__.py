"""Training data: the MMEarth layout, its packed form, samples made of tiles."""
