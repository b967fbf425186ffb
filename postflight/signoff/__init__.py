"""Sign-off: what a green run of a release proved, and of what, signed so that it can be checked later.

Pure functions of the run record, the snapshot and a key. What is signed is an in-toto Statement in a
DSSE envelope; its subjects are the configuration of the deployment and the images that run.
"""
