"""Media that are no files of this machine.

http      from the network, by http and https
stored    objects in a bucket, and members of an indexed tar, which may lie in a bucket too
sources   what training looks media up in, in buckets
roots     where the names of a list of media are looked up
"""
