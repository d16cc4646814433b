"""Shows a result: as text, JSON, SARIF, workflow commands or one HTML page. Judges nothing and measures nothing."""
