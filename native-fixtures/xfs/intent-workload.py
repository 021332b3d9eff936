"""Changes that take several transactions each, while others have the log written all the time.

intent-workload.py FOLDER SEED BLOCKS KIND: records end between the transactions of one change, so that a log that stops there
leaves steps to be done. It ends when the log, which is in its first cycle, has so many more basic blocks. KIND `exchange` has
files exchange their blocks, `attributes` changes names and attributes alone, `all` does all else.
"""
import ctypes
import fcntl
import os
import random
import struct
import sys
import threading
import time

folder, seed, blocks, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.chdir(folder)
rng = random.Random(seed)
FICLONE = 0x40049409
EXCHANGE_RANGE = 0x40285881
EXCHANGE_TO_EOF = 1
EXCHANGE_FILE1_WRITTEN = 8
done = False


def write_log(number):
    file = os.open('sync%d' % number, os.O_CREAT | os.O_RDWR)
    turn = 0
    while not done:
        # A change of the inode, so that there is something to wait for.
        os.fchmod(file, 0o600 + turn % 64)
        os.fsync(file)
        turn += 1


def fragmented(path, pieces):
    with open(path, 'wb') as file:
        for piece in range(pieces):
            os.pwrite(file.fileno(), b'%d' % piece * 1000, piece * 16384)
        os.fsync(file.fileno())


def clone(source, target):
    with open(source, 'rb') as a, open(target, 'wb') as b:
        fcntl.ioctl(b.fileno(), FICLONE, a.fileno())


def exchange(one, two):
    """All of both files, sizes too, or a range of them."""
    with open(one, 'r+b') as a, open(two, 'r+b') as b:
        size = min(os.path.getsize(one), os.path.getsize(two)) // 65536 * 65536
        if rng.random() < 0.4:
            at, length, flags = 0, 0, EXCHANGE_TO_EOF
        else:
            at, length, flags = 65536, size - 65536, rng.choice([0, EXCHANGE_FILE1_WRITTEN])
        fcntl.ioctl(b.fileno(), EXCHANGE_RANGE, struct.pack('=iIQQQQ', a.fileno(), 0, at, at, length, flags))


def rename_and_link():
    name = rng.choice(names)
    target = 'd/n%d%s' % (count, 'x' * rng.randrange(200))
    if rng.random() < 0.5:
        os.rename(name, target)
        names[names.index(name)] = target
    else:
        os.link(name, target)
        names.append(target)


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
device = os.stat('.').st_dev
name = os.path.basename(os.path.realpath('/sys/dev/block/%d:%d' % (os.major(device), os.minor(device))))


def log_head():
    with open('/sys/fs/xfs/%s/log/log_head_lsn' % name) as file:
        cycle, block = file.read().split(':')
    return int(block) if int(cycle) == 1 else 1 << 30


start = log_head()
end = time.time() + 20
while log_head() - start < blocks and time.time() < end:
    count += 1
    chance = rng.random()
    try:
        if len(names) < 6 or chance < 0.15:
            names.append('f%d' % count)
            fragmented(names[-1], rng.randrange(8, 120))
        elif kind == 'exchange' and chance < 0.8:
            exchange(*rng.sample(names, 2))
        elif kind == 'attributes' and chance < 0.5:
            rename_and_link()
        elif kind == 'attributes' and chance < 0.7:
            os.setxattr(rng.choice(names), 'user.%d' % rng.randrange(9), b'v' * rng.randrange(1, 500))
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
                libc = ctypes.CDLL(None, use_errno=True)
                libc.fallocate(file.fileno(), 3, ctypes.c_long(rng.randrange(20) * 16384), ctypes.c_long(300000))
        elif chance < 0.85:
            # Short enough to stay in the inode. Blocks of attributes leave the log before the inode forgets them, and where it stops
            # in between, older kernels cannot free the inode ("xfs: close crash window in attr dabtree inactivation", Linux 7.0).
            os.setxattr(rng.choice(names), 'user.%d' % rng.randrange(3), b'v' * rng.randrange(1, 20))
        else:
            os.unlink(names.pop(rng.randrange(len(names))))
    except OSError as error:
        if kind != 'all':
            print(error, file=sys.stderr)
done = True
for thread in threads:
    thread.join()
