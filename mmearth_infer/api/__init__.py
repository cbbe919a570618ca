"""What the command line does, from Python: xarray in and out."""
