"""`aurora train` as it is typed: what hangs on the parts is taken from their files, then one stage runs, or all do."""
