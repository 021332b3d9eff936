#!/usr/bin/env python3
"""walk.py DIR - every path below DIR as the kernel shows it: a JSON line each with type and mode, owner, times, links,
size, device numbers, xattrs, link target and the sha256 of the content. Names are Latin-1 so that every byte survives."""
import hashlib, json, os, stat, sys

top = os.fsencode(sys.argv[1])
out = sys.stdout

def text(b):
    return b.decode('latin-1')

def walk(path, shown):
    s = os.lstat(path)
    row = {
        'path': text(shown) or '/', 'mode': oct(s.st_mode), 'uid': s.st_uid, 'gid': s.st_gid, 'nlink': s.st_nlink,
        'mtime': s.st_mtime_ns, 'ctime': s.st_ctime_ns, 'atime': s.st_atime_ns, 'ino': s.st_ino,
        'xattrs': {n: os.getxattr(path, n, follow_symlinks=False).hex()
                   for n in sorted(os.listxattr(path, follow_symlinks=False))},
    }
    if stat.S_ISREG(s.st_mode):
        row['size'] = s.st_size
        h = hashlib.sha256()
        with open(path, 'rb', opener=lambda p, f: os.open(p, f | os.O_NOATIME)) as f:
            while chunk := f.read(1 << 20):
                h.update(chunk)
        row['sha256'] = h.hexdigest()
    elif stat.S_ISLNK(s.st_mode):
        row['target'] = text(os.readlink(path))
    elif stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
        row['rdev'] = [os.major(s.st_rdev), os.minor(s.st_rdev)]
    out.write(json.dumps(row, sort_keys=True) + '\n')
    if stat.S_ISDIR(s.st_mode):
        for name in sorted(os.listdir(path)):
            child = path + b'/' + name
            if not os.path.ismount(child):
                walk(child, shown + b'/' + name)

walk(top, b'')
