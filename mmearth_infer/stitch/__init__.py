"""From the features of tiles to finished rows of the grid."""
