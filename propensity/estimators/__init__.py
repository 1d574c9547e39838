"""Models behind one surface: card, storage, kinds, and one file an estimator."""
