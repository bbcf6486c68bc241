"""What gRPC needs: servers, messages to values and back, errors to statuses."""
