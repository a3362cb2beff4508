"""From a model's scores to text or labels, and how far these are from what was meant."""
