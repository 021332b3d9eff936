#!/usr/bin/env python3
"""populate.py DIR SEED NAMES - fills a mounted btrfs with what differs on the disk: every kind of file, extents of every kind, names and
attributes whose hashes collide, subvolumes and snapshots. NAMES is a file of names whose CRC-32C collide, a pair a line."""
import fcntl, os, random, socket, stat, subprocess, sys

top, seed, collisions = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rng = random.Random(seed)
run = lambda *args: subprocess.run(args, check=True, stdout=subprocess.DEVNULL)
sync = lambda: run('btrfs', 'filesystem', 'sync', top)

def put(path, data, mode=0o644):
    with open(path, 'wb') as f:
        f.write(data)
    os.chmod(path, mode)

def text(size):
    words = [b'alpha', b'beta', b'gamma', b'\n', b' ', b'delta' * 20]
    out = bytearray()
    while len(out) < size:
        out += rng.choice(words)
    return bytes(out[:size])

def contents(base):
    os.makedirs(base)
    for size in (0, 1, 100, 2047, 2048, 2049, 3900, 4095, 4096, 4097, 5000, 131071, 131072, 131073, 300001):
        put(f'{base}/text-{size}', text(size))
        put(f'{base}/noise-{size}', rng.randbytes(size))
    put(f'{base}/zeros', bytes(1_000_000))
    put(f'{base}/long', text(3_000_000) + rng.randbytes(500_000) + bytes(700_000) + text(100))
    with open(f'{base}/sparse', 'wb') as f:
        for at in (0, 65_536, 1 << 20, (1 << 33) + 777):
            f.seek(at); f.write(text(9000)); f.flush(); os.fsync(f.fileno())
        f.truncate((1 << 33) + 5_000_000)
    with open(f'{base}/preallocated', 'wb') as f:
        os.posix_fallocate(f.fileno(), 0, 2_000_000)
        f.seek(300_000); f.write(rng.randbytes(70_000))
    sync()
    # Extents of which only parts are shown any more.
    with open(f'{base}/long', 'r+b') as f:
        for _ in range(25):
            f.seek(rng.randrange(4_000_000)); f.write(text(rng.randrange(1, 40_000)))
            if rng.random() < 0.3: f.flush(); os.fsync(f.fileno())
    run('fallocate', '--punch-hole', '--offset', '1000000', '--length', '333333', f'{base}/long')
    run('cp', '--reflink=always', f'{base}/long', f'{base}/reflink')
    with open(f'{base}/reflink', 'r+b') as f:
        f.seek(1_234_567); f.write(b'changed'); f.truncate(3_999_999)
    put(f'{base}/inline-grown', b'x' * 50)
    sync()
    with open(f'{base}/inline-grown', 'r+b') as f:
        f.truncate(100_000)
    os.mkdir(f'{base}/nocow'); run('chattr', '+C', f'{base}/nocow')
    put(f'{base}/nocow/file', text(200_000))
    os.mkdir(f'{base}/kinds')
    for algorithm in ('zlib', 'lzo', 'zstd'):
        path = f'{base}/kinds/{algorithm}'
        put(path, b''); run('btrfs', 'property', 'set', path, 'compression', algorithm)
        with open(path, 'wb') as f:
            f.write(text(700_001))
        put(f'{base}/kinds/{algorithm}-small', b'')
        run('btrfs', 'property', 'set', f'{base}/kinds/{algorithm}-small', 'compression', algorithm)
        with open(f'{base}/kinds/{algorithm}-small', 'wb') as f:
            f.write(text(1900))

def kinds(base):
    os.makedirs(base)
    put(f'{base}/suid', b'x', 0o6755); put(f'{base}/none', b'x', 0); os.mkdir(f'{base}/sticky'); os.chmod(f'{base}/sticky', 0o1777)
    os.mkfifo(f'{base}/fifo'); os.mknod(f'{base}/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(f'{base}/large', stat.S_IFBLK | 0o600, os.makedev(259, 1_000_001))
    s = socket.socket(socket.AF_UNIX); at = os.getcwd(); os.chdir(base); s.bind('socket'); os.chdir(at)
    os.symlink('suid', f'{base}/link')
    os.symlink('/' + 'y' * 2000, f'{base}/dangling')
    os.chown(f'{base}/none', 4_000_000_000, 123_456)
    for n, t in enumerate((-1, -10**18 - 5, 0, 2**33 * 10**9 + 1, 10**18 + 999_999_999)):
        put(f'{base}/time{n}', b''); os.utime(f'{base}/time{n}', ns=(t, t + 1))
    put(f'{base}/links', b'many names')
    for n in range(400):
        os.link(f'{base}/links', f'{base}/name-{n:03}-{"l" * (n % 90)}')
    put(f'{base}/flags', b'x'); run('chattr', '+dA', f'{base}/flags')
    f = f'{base}/attributes'; put(f, b'x')
    for n in range(40):
        os.setxattr(f, f'user.{"n" * n}{n}', rng.randbytes(n * 7))
    os.setxattr(f, 'user.large', rng.randbytes(2500))
    os.setxattr(f, 'trusted.empty', b''); os.setxattr(f, 'security.selinux', b'system_u:object_r:etc_t:s0\0')
    run('setfacl', '-m', 'u:7:r,g:70000:rwx', f); run('setfacl', '-d', '-m', 'u:8:rx', f'{base}/sticky')
    put(f'{base}/colliding', b'x'); os.mkdir(f'{base}/collisions')
    for line in open(collisions):
        for name in line.split():
            put(f'{base}/collisions/{name}', name.encode())
            if name.startswith('user.'):
                os.setxattr(f'{base}/colliding', name, name.encode())
    for name in (b'\xff\xfe\n', b'-rf', b' ', 'é…'.encode(), b'a' * 255):
        with open(os.fsencode(base) + b'/' + name, 'wb') as g:
            g.write(name)

def many(base):
    os.makedirs(base)
    for n in range(1500):
        d = f'{base}/{n % 17}'
        os.makedirs(d, exist_ok=True)
        put(f'{d}/file-{n}', text(rng.randrange(200)))
    for n in range(0, 1500, 3):
        os.unlink(f'{base}/{n % 17}/file-{n}')
    deep = base
    for n in range(30):
        deep += f'/{n}'
    os.makedirs(deep); put(f'{deep}/bottom', b'deep')

contents(f'{top}/contents'); kinds(f'{top}/kinds'); many(f'{top}/many')
sub = lambda *args: run('btrfs', 'subvolume', *args)
sub('create', f'{top}/@'); sub('create', f'{top}/@/nested'); os.mkdir(f'{top}/@/dir'); sub('create', f'{top}/@/dir/inner')
put(f'{top}/@/file', text(100_000)); put(f'{top}/@/nested/file', b'nested'); put(f'{top}/@/dir/inner/f', b'inner')
sub('create', f'{top}/@/nested/deeper'); put(f'{top}/@/nested/deeper/f', b'deeper')
sync()
sub('snapshot', f'{top}/@', f'{top}/snapshot'); put(f'{top}/snapshot/file', text(50_000))
sub('snapshot', '-r', f'{top}/@', f'{top}/@/read-only')
sub('create', f'{top}/gone'); put(f'{top}/gone/f', b'x'); sub('delete', '-c', f'{top}/gone')
sub('create', f'{top}/moved'); os.mkdir(f'{top}/to'); os.rename(f'{top}/moved', f'{top}/to/moved-here')
put(f'{top}/to/moved-here/f', b'moved')
sync()
