"""What `aurora inspect` says of annotations, data, token stores and runs; `pipeline/inspect.py` tells them apart."""
