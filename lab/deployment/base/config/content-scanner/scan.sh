#!/bin/sh
# The scanner takes any end but 0 for a find: clamdscan ends with 1 for one, and with 2 where it could not scan.
exec clamdscan --config-file=/data/clamdscan.conf --stream --no-summary "$1"
