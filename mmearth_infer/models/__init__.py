"""Models by name: the one in the box, and those that the authors of MMEarth publish."""
