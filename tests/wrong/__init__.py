"""Wrong inputs, each with the sentence that it must get."""
