"""What runs inside the cluster, sent there as one zipapp: the standard library, with pyOpenSSL for media, Python 3.9 to 3.13."""
