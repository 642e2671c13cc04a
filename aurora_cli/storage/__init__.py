"""Objects in buckets: whatever fsspec reads and writes by a URL (`s3://`, `gs://`, `hf://`, ...).

client    the library of a kind of bucket, opened once, and how patient it is
errors    what these libraries raise, as our errors
objects   size and version, reading by pieces, listing, writing whole, removing
copies    objects and folders of them as files of this machine, in a cache
"""
