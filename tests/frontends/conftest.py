"""Makes helpers in this folder importable from its tests: `from traced import …`."""
