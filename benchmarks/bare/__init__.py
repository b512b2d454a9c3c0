"""The bare loops: the same work by one straight script each, on the same engines, without services and broker."""
