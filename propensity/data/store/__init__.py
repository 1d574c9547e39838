"""The compact store: one HDF5 file, checksummed records, written so that it may be killed at any moment."""
