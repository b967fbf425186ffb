"""The verifier as its users run it, against a living lab: healthy, broken, healed."""
