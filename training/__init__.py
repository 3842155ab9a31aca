"""Training and evaluation of the codec's networks."""
