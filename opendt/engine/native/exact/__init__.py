"""OpenDC's update procedure step by step (SEMANTICS 6): slower than the closed form, and right where that is not."""
