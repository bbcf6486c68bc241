"""The gRPC coordinator: moves bytes, never imports torch."""
