"""Extraction by way of a folder on a disk of this machine.

staged   reads an archive into that folder, and has what came of it moved
moving   files from there to a target on another disk, durable in groups
"""
