"""Captioning many media, from files to a file, that goes on where it was stopped.

rows, row_media, row_values   what is captioned: media with a span and a question, also as a file lists them
caption_keys, key_hashes      what of a very long list is captioned, by hashes
plain_keys                    the same of many rows, by their columns
request                       what is captioned by which model, and where the captions go
source                        the model, of which the weights are read when they are first needed
session                       what the output lacks, several at a time
output, stored_lines          the file of captions, and what could not be captioned
parts, part_output            a share of the media, in a file of its own
merge_parts                   all parts as the one file
lines                         a caption as a person reads it
"""
