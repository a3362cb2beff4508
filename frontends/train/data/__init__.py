"""Data sets and the loader that makes batches of them; ``graphc.data`` is the public face."""
