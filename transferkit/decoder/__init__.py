"""A frozen decoder: found, loaded, measured, and read through a template."""
