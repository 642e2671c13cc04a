"""Rows that take their steps together, and how the language model reads them.

groups       rows that others may join, and rows that nobody joins
kv_cache     keys and values of rows that join and leave
plain_model  a language model of Llama's plainest build, with nothing around it
"""
