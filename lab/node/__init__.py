"""A Kubernetes of one or more nodes, each in namespaces of its own. Standard library only: it runs inside them."""
