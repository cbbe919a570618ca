"""The whole way of the data, from a scene to a store."""
