"""Rules about the exam itself."""
