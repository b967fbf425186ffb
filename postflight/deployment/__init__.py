"""From a snapshot to typed descriptions of what is deployed. Touches no network."""
