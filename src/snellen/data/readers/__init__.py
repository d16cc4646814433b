"""One reader per annotation format. Each turns files into `Records`; what it cannot use becomes a problem row."""
