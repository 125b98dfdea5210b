"""The Prompting LLM, what it writes, and the matrix that carries it."""
