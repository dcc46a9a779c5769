"""What speaks to the world."""
