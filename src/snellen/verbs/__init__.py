"""What Snellen does, one file per verb. The command line and the Python face are both thin over these."""
