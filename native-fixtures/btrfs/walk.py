#!/usr/bin/env python3
"""walk.py DIR - every path below DIR as the kernel shows it, subvolumes too: a JSON line each. Names are Latin-1, times texts."""
import hashlib, json, os, stat, sys

text = lambda b: b.decode('latin-1')

def walk(path, shown):
    s = os.lstat(path)
    row = {
        'path': text(shown) or '/', 'mode': s.st_mode, 'uid': s.st_uid, 'gid': s.st_gid, 'nlink': s.st_nlink, 'ino': s.st_ino,
        'blocks': s.st_blocks, 'size': s.st_size, 'atime': str(s.st_atime_ns), 'mtime': str(s.st_mtime_ns), 'ctime': str(s.st_ctime_ns),
        'xattrs': {n: os.getxattr(path, n, follow_symlinks=False).hex() for n in sorted(os.listxattr(path, follow_symlinks=False))},
    }
    if stat.S_ISREG(s.st_mode):
        digest = hashlib.sha256()
        with open(path, 'rb') as f:
            at = 0
            while at < s.st_size:
                # A file may be sparse and large: each MiB that is not all zeros counts, with its number.
                try:
                    at = os.lseek(f.fileno(), at, os.SEEK_DATA) >> 20 << 20
                except OSError:
                    break
                chunk = os.pread(f.fileno(), 1 << 20, at)
                if chunk.strip(b'\0'):
                    digest.update(b'%d:' % (at >> 20) + chunk)
                at += 1 << 20
        row['digest'] = digest.hexdigest()
    elif stat.S_ISLNK(s.st_mode):
        row['target'] = text(os.readlink(path))
    elif stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
        row['rdev'] = f'{os.major(s.st_rdev)}:{os.minor(s.st_rdev)}'
    print(json.dumps(row))
    if stat.S_ISDIR(s.st_mode):
        for name in sorted(os.listdir(path)):
            walk(path + b'/' + name, shown + b'/' + name)

walk(os.fsencode(sys.argv[1]), b'')
