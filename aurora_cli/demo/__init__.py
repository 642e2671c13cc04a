"""`aurora demo`: draws a data set and runs the commands on it."""
