"""Many runs from one file, and the built-in demo."""
