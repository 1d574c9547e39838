"""Models that the network is compared with."""
