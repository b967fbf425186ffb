"""postflight: proves, by behaviour, that a Matrix deployment on Kubernetes does what it promises."""

__version__ = "0.1.0"
