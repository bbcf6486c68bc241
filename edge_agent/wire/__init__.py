"""The coordinator as the agent sees it: calls, downloads, retries. gRPC and protobuf stop here."""
