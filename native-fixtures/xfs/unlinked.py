"""Leaves files open that have no name any more, and stops the filesystem as a power failure does.

usage: unlinked.py FOLDER SEED FILES
"""
import os
import random
import subprocess
import sys

folder, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
held = []
for number in range(count):
    path = os.path.join(folder, f"file-{number}")
    kind = random.randrange(8)
    if kind == 0:
        os.mkdir(path)
        held.append((path, os.open(path, os.O_RDONLY)))
        continue
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    held.append((path, handle))
    if kind < 4:
        os.pwrite(handle, random.randbytes(random.randrange(1, 60_000)), 0)
    elif kind == 4:
        # So many extents that they are in a tree.
        for extent in range(40):
            os.posix_fallocate(handle, extent * 65_536, 4096)
    if kind == 5:
        os.setxattr(path, "user.large", random.randbytes(9000))
    elif kind == 6:
        os.setxattr(path, "user.small", b"value")
subprocess.run(["sync", "-f", folder], check=True)
for path, handle in random.sample(held, count * 2 // 3):
    (os.rmdir if os.path.isdir(path) else os.unlink)(path)
# Files that never had a name.
for number in range(count // 8):
    handle = os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o600)
    os.pwrite(handle, b"y" * 10_000, 0)
    held.append(("", handle))
subprocess.run(["xfs_io", "-x", "-c", "shutdown -f", folder], check=True)
