"""Routes by subject. Each parses, asks the library once, and returns."""
