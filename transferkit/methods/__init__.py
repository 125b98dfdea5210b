"""Everything that turns texts into vectors, one file a method; the folder is the registry."""
