"""What a user asks for in a few words, a file of their own included, and the recipe that it becomes."""
