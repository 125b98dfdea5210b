"""What a user writes: recipes, specs, templates, poolings. Read and checked without torch."""
