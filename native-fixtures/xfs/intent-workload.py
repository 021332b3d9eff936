"""Changes that take several transactions each, while others have the log written all the time.

intent-workload.py FOLDER SEED SECONDS: records end between the transactions of one change, so that a log that stops there
leaves steps to be done.
"""
import fcntl
import os
import random
import sys
import threading
import time

folder, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
os.chdir(folder)
rng = random.Random(seed)
FICLONE = 0x40049409
done = False


def write_log(number):
    file = os.open('sync%d' % number, os.O_CREAT | os.O_RDWR)
    count = 0
    while not done:
        # A change of the inode, so that there is something to wait for.
        os.fchmod(file, 0o600 + count % 64)
        os.fsync(file)
        count += 1


def fragmented(path, pieces):
    with open(path, 'wb') as file:
        for piece in range(pieces):
            os.pwrite(file.fileno(), b'%d' % piece * 1000, piece * 16384)
        os.fsync(file.fileno())


def clone(source, target):
    with open(source, 'rb') as a, open(target, 'wb') as b:
        fcntl.ioctl(b.fileno(), FICLONE, a.fileno())


def overwrite(path):
    with open(path, 'r+b') as file:
        for piece in rng.sample(range(40), 8):
            os.pwrite(file.fileno(), b'w' * 5000, piece * 16384)
        os.fsync(file.fileno())


threads = [threading.Thread(target=write_log, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
names = []
count = 0
end = time.time() + seconds
while time.time() < end:
    count += 1
    chance = rng.random()
    try:
        if len(names) < 6 or chance < 0.15:
            names.append('f%d' % count)
            fragmented(names[-1], rng.randrange(8, 120))
        elif chance < 0.4:
            target = 'c%d' % count
            clone(rng.choice(names), target)
            names.append(target)
        elif chance < 0.6:
            overwrite(rng.choice(names))
        elif chance < 0.75:
            os.truncate(rng.choice(names), rng.randrange(0, 900000))
        elif chance < 0.8:
            with open(rng.choice(names), 'r+b') as file:
                # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
                import ctypes
                libc = ctypes.CDLL(None, use_errno=True)
                libc.fallocate(file.fileno(), 3, ctypes.c_long(rng.randrange(20) * 16384), ctypes.c_long(300000))
        elif chance < 0.85:
            os.setxattr(rng.choice(names), 'user.%d' % rng.randrange(9), b'v' * rng.randrange(1, 500))
        else:
            os.unlink(names.pop(rng.randrange(len(names))))
    except OSError as error:
        print(error, file=sys.stderr)
done = True
for thread in threads:
    thread.join()
