"""The evaluation of the MMEarth paper: encoders on GEO-Bench, as one table."""
