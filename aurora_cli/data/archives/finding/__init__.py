"""Which files of a folder are archives, and which are the parts of one."""
