"""One file of a user -> the data section of a recipe: its columns, its split, and sizes that suit it."""
