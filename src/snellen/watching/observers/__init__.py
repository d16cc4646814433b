"""What a watch observes, one kind a file."""
