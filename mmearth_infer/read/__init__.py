"""From files to digital numbers, and the decisions on the way."""
