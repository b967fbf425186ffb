"""A real Kubernetes in miniature, with the reference deployment and its defects in it."""
