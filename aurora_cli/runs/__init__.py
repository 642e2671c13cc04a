"""The format of `runs/<stage>`: names of files, the newest checkpoint, lines of metrics."""
