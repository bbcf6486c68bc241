"""The aggregation worker: claims, aggregates, judges, commits."""
