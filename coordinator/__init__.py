"""The coordinator: service, aggregation worker, stores and operator tools."""
