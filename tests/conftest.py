"""For all tests: one thread a process, also in those that tests start.

With more, MKL takes as many as it finds idle, and sums in another order when it finds fewer: results of one test would
differ in the last bit from run to run. Tests compare to the bit, and mostly start several processes anyway.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
