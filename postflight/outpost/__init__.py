"""What runs inside the cluster, sent there as one zipapp: standard library only, Python 3.9 to 3.13."""
