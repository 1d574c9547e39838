"""Models behind one surface: card, storage, registry, and one file an estimator."""
