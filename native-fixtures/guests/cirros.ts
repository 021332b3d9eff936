import { X86_64_ELF } from './types.ts'

/** CirrOS 0.6: buildroot, busybox's init, GRUB legacy, dropbear. */
export const cirros = {
  '/etc/passwd':
    'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/sh\nsshd:x:103:99:Operator:/var:/bin/sh\ncirros:x:1000:1000:non-root user:/home/cirros:/bin/sh\n',
  '/etc/shadow':
    'root:$1$abcdefgh$notahashnotahashnotaha:10933:0:99999:7:::\ndaemon:*:10933:0:99999:7:::\nsshd:*:10933:0:99999:7:::\ncirros:$1$abcdefgh$O7BjR/ZHapYPQbSTcq4Nq1:10933:0:99999:7:::\n',
  '/etc/group': 'root:x:0:\ndaemon:x:1:\nwheel:x:10:root\nutmp:x:43:\nusers:x:100:\ncirros:x:1000:\n',
  '/etc/hostname': 'cirros\n',
  '/etc/hosts': '127.0.0.1	localhost\n127.0.1.1	cirros\n',
  '/etc/fstab':
    '# <file system>	<mount pt>	<type>	<options>	<dump>	<pass>\n/dev/root       /           auto     rw,noauto                0 1\nproc            /proc       proc     defaults                 0 0\n',
  '/etc/cirros/version': '0.6.2\n',
  '/etc/cirros-init/config':
    '## configuration for cirros-init\nDATASOURCE_LIST="nocloud configdrive ec2 gce"\n',
  '/etc/network/interfaces':
    '# Configure Loopback\nauto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n',
  '/boot/grub/menu.lst': `default 0
timeout 2
title cirros 0.6.2
root (hd0,0)
kernel /boot/vmlinuz root=LABEL=cirros-rootfs ro console=tty1 console=ttyS0
initrd /boot/initrd.img
`,
  '/boot/vmlinuz': 'MZ kernel',
  '/boot/initrd.img': '070701',
  '/lib/modules/5.15.0-71-generic/modules.dep': '',
  '/etc/inittab': `# /etc/inittab
null::sysinit:/bin/mount -t proc proc /proc
::sysinit:/etc/init.d/rcS sysinit
::once:/etc/init.d/rc.sysinit
tty1::respawn:/sbin/getty 115200 tty1
ttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100
::ctrlaltdel:/sbin/reboot
::shutdown:/etc/init.d/rcK
`,
  '/etc/init.d/rcS': '#!/bin/sh\n# Start all init scripts in /etc/rcS.d\n',
  '/etc/init.d/S50-dropbear': '#!/bin/sh\n# Starts dropbear sshd.\n',
}

export const cirrosExtras = {
  links: {
    '/bin/sh': 'busybox',
    '/sbin/init': '../bin/busybox',
    '/etc/rc3.d/S50-dropbear': '../init.d/S50-dropbear',
  },
  attributes: { '/etc/shadow': { mode: 0o600 }, '/etc/init.d/rcS': { mode: 0o755 } },
  binaries: { '/bin/busybox': X86_64_ELF },
}
