/** The files of a guest and what a plain list of texts cannot say. */
export interface PhonyGuest {
  readonly files: Readonly<Record<string, string | Uint8Array>>
  /** Symlinks: path to target. */
  readonly links: Readonly<Record<string, string>>
  /** Permission bits, owner and group of files that are not 0644 root:root. */
  readonly attributes: Readonly<Record<string, { mode?: number; uid?: number; gid?: number }>>
  /** Empty directories. */
  readonly folders?: readonly string[]
}

/** A GRUB environment block of 1024 bytes, as grub-editenv makes it. */
export function grubenv(variables: string): string {
  return `# GRUB Environment Block\n${variables}`.padEnd(1024, '#')
}

/** The first bytes of a 64-bit x86 program: what tells the architecture. */
export const X86_64_ELF = new Uint8Array([
  0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 0,
])

export const SECRET_FILES = {
  '/etc/shadow': { mode: 0o000 },
  '/etc/gshadow': { mode: 0o000 },
  '/etc/sudoers': { mode: 0o440 },
}

/** Debian: shadow is readable by the group of that name (42). */
export const DEBIAN_SECRET_FILES = {
  '/etc/shadow': { mode: 0o640, gid: 42 },
  '/etc/gshadow': { mode: 0o640, gid: 42 },
  '/etc/sudoers': { mode: 0o440 },
}
