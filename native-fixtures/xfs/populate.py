#!/usr/bin/env python3
"""populate.py DIR SEED NAMES - fills a mounted XFS with what differs on the disk: directories and attributes of every form, extents of
every kind and in trees, links, devices, times. NAMES: how many entries the large directory has."""
import os, random, socket, stat, subprocess, sys

top, seed, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
run = lambda *args: subprocess.run(args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

def put(path, data, mode=0o644):
    with open(path, 'wb') as f:
        f.write(data)
    os.chmod(path, mode)

os.mkdir(f'{top}/dirs')
for count in (0, 1, 4, 30, 150, 700, most):
    d = f'{top}/dirs/{count}'
    os.mkdir(d)
    for n in range(count):
        os.mknod(f'{d}/{n:05}{"x" * (n * 7 % 60)}')
    for n in range(0, count, 5):
        os.unlink(f'{d}/{n:05}{"x" * (n * 7 % 60)}')
os.mkdir(f'{top}/names')
for size in range(1, 256, 6):
    put(f'{top}/names/{"n" * size}', b'%d' % size)
for name in (b'\xff\xfe\n', b'-rf', b' ', 'é…'.encode()):
    with open(os.fsencode(top) + b'/names/' + name, 'wb') as f:
        f.write(name)

os.mkdir(f'{top}/files')
for size in (0, 1, 511, 512, 4095, 4096, 65537, 1_000_003):
    put(f'{top}/files/{size}', rng.randbytes(size))
with open(f'{top}/files/sparse', 'wb') as f:
    for at in (0, 65_536, 1 << 20, (1 << 32) + 777):
        f.seek(at); f.write(rng.randbytes(9000))
    f.truncate((1 << 32) + 5_000_000)
with open(f'{top}/files/preallocated', 'wb') as f:
    os.posix_fallocate(f.fileno(), 0, 2_000_000)
    f.seek(300_000); f.write(rng.randbytes(70_000))
# Thousands of extents: every other block of two files that grow in turn is theirs.
size = os.statvfs(top).f_bsize
with open(f'{top}/files/pieces', 'wb') as f:
    for n in range(900):
        f.seek(n * 2 * size); f.write(b'%06d' % n * (size // 6))
with open(f'{top}/files/punched', 'wb') as f:
    f.write(rng.randbytes(300 * size))
for n in range(0, 300, 3):
    run('fallocate', '--punch-hole', '--offset', str(n * size), '--length', str(size), f'{top}/files/punched')
if subprocess.run(['cp', '--reflink=always', f'{top}/files/punched', f'{top}/files/reflink'], stderr=subprocess.DEVNULL).returncode == 0:
    with open(f'{top}/files/reflink', 'r+b') as f:
        f.seek(123_456); f.write(b'changed')

k = f'{top}/kinds'
os.mkdir(k)
put(f'{k}/suid', b'x', 0o6755); put(f'{k}/none', b'x', 0); os.mkdir(f'{k}/sticky'); os.chmod(f'{k}/sticky', 0o1777)
os.mkfifo(f'{k}/fifo'); os.mknod(f'{k}/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
os.mknod(f'{k}/large', stat.S_IFBLK | 0o600, os.makedev(259, 200_001))
s = socket.socket(socket.AF_UNIX); at = os.getcwd(); os.chdir(k); s.bind('socket'); os.chdir(at)
for size in (1, 50, 300, 336, 337, 600, 1022, 1023):
    os.symlink('y' * size, f'{k}/link-{size}')
os.chown(f'{k}/none', 4_000_000_000, 123_456)
for n, t in enumerate((-1, -10**18 - 5, 0, 10**18 + 999_999_999)):
    put(f'{k}/time{n}', b''); os.utime(f'{k}/time{n}', ns=(t, t + 1))
put(f'{k}/links', b'many names')
for n in range(40):
    os.link(f'{k}/links', f'{k}/name-{n:03}')
put(f'{k}/flags', b'x'); run('chattr', '+dA', f'{k}/flags')

a = f'{top}/attributes'
os.mkdir(a)
for count, size in ((1, 10), (3, 250), (20, 60), (400, 30), (5, 3000), (3, 60_000)):
    f = f'{a}/{count}-{size}'; put(f, b'x')
    for n in range(count):
        os.setxattr(f, f'user.{"n" * (n % 100)}{n}', rng.randbytes(size))
f = f'{a}/kinds'; put(f, b'x')
os.setxattr(f, 'trusted.empty', b''); os.setxattr(f, 'security.selinux', b'system_u:object_r:etc_t:s0\0'); os.setxattr(f, 'user.same', b'1'); os.setxattr(f, 'trusted.same', b'2')
run('setfacl', '-m', 'u:7:r,g:70000:rwx', f); run('setfacl', '-d', '-m', 'u:8:rx', f'{k}/sticky')
