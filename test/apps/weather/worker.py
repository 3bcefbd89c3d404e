"""Looks out of the window every two seconds."""

import itertools
import time

for n in itertools.count(1):
    print(f"observation {n}: still sunny", flush=True)
    time.sleep(2)
