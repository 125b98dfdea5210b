"""What tests build on: tiny projects, run folders, sets, pictures."""
