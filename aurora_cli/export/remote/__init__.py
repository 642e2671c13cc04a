"""Code that an export carries: the merging model and its processor, for those who have transformers but not us."""
