"""Random operations on a mounted filesystem, many of them synced, for a log with many transactions.

log-workload.py FOLDER SEED COUNT KIND: KIND `unlink` removes files too, `keep` does not, `clone` shares extents too.
"""
import fcntl
import os
import random
import sys

folder, seed, count, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.chdir(folder)
rng = random.Random(seed)
names = []
os.makedirs('d', exist_ok=True)
FICLONE = 0x40049409


def opened(path, action):
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    action(file)
    if rng.random() < 0.5:
        os.fsync(file)
    os.close(file)


def clone(source, target):
    with open(source, 'rb') as a, open(target, 'wb') as b:
        fcntl.ioctl(b.fileno(), FICLONE, a.fileno())


for i in range(count):
    chance = rng.random()
    try:
        if chance < 0.45 or not names:
            path = rng.choice(['', 'd/']) + 'f%d' % i + 'x' * rng.randrange(40)
            opened(path, lambda file: os.write(file, b'a' * rng.randrange(1, 9000)))
            names.append(path)
        elif chance < 0.6:
            if kind == 'unlink':
                os.unlink(names.pop(rng.randrange(len(names))))
            elif kind == 'clone':
                clone(rng.choice(names), 'd/c%d' % i)
        elif chance < 0.7:
            at = rng.randrange(len(names))
            os.rename(names[at], 'd/r%d' % i)
            names[at] = 'd/r%d' % i
        elif chance < 0.8:
            os.setxattr(rng.choice(names), 'user.%d' % rng.randrange(9), b'v' * rng.randrange(1, 900))
        elif chance < 0.87:
            os.truncate(rng.choice(names), rng.randrange(0, 60000))
        elif chance < 0.9:
            os.symlink('t' * rng.randrange(1, 1000), 'd/l%d' % i)
        elif chance < 0.93:
            os.link(rng.choice(names), 'd/h%d' % i, follow_symlinks=False)
        elif chance < 0.95:
            os.mkdir('d/D%d' % i)
        elif chance < 0.96:
            os.mknod('d/n%d' % i, 0o20600, os.makedev(5, i % 200))
        else:
            path = rng.choice(names)
            opened(path, lambda file: [os.pwrite(file, b'z' * 4096, at * 8192) for at in range(rng.randrange(60))])
    except OSError:
        pass
