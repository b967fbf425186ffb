"""How to reach Kubernetes, and what stands in it. Knows nothing of Synapse or of checks."""
