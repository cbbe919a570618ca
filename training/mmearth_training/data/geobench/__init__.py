"""GEO-Bench v1.0: its Sentinel-2 data sets, read as they are published."""
