"""Where things are: windows of pixels, tilings of a scene, places on Earth."""
