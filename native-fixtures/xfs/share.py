#!/usr/bin/env python3
"""Makes files that share ranges with each other and with themselves at random: share.py FOLDER SEED"""

import fcntl
import os
import random
import struct
import sys

FICLONERANGE = 0x4020940D
FILES = 8
SIZE = 2 << 20

top, seed = sys.argv[1], int(sys.argv[2])
random.seed(seed)
files = []
for number in range(FILES):
    with open(os.path.join(top, f"f{number}"), "wb") as file:
        file.write(random.randbytes(SIZE))
    files.append(os.open(os.path.join(top, f"f{number}"), os.O_RDWR))
for step in range(600):
    source, target = random.choice(files), random.choice(files)
    length, at, to = (4096 * random.randint(low, high) for low, high in ((1, 30), (0, 480), (0, 480)))
    # Overlapping ranges of one file are refused.
    if source == target and abs(at - to) < length:
        continue
    fcntl.ioctl(target, FICLONERANGE, struct.pack("qQQQ", source, at, length, to))
    if step % 50 == 0:
        os.posix_fallocate(random.choice(files), SIZE + 4096 * random.randint(0, 100), 65536)
