import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'

/** The formats of disk images that are read and written. */
export type ImageFormat = 'raw' | 'qcow2'

interface Signature {
  /** Byte offset; from the end where negative. */
  readonly at: number
  /** One character a byte. */
  readonly bytes: string
}

interface Known {
  readonly name: string
  readonly signatures: readonly Signature[]
  readonly advice: string
}

const CONVERT = 'convert it with "qemu-img convert -O qcow2"'
const UNPACK = 'unpack it first'

/** What is neither raw nor qcow2 and would be damaged if it were taken for raw. */
const OTHERS: readonly Known[] = [
  { name: 'a qcow (version 1) image', signatures: [{ at: 0, bytes: 'QFI\xfb\0\0\0\x01' }], advice: CONVERT },
  {
    name: 'a VMDK image',
    signatures: [
      { at: 0, bytes: 'KDMV' },
      { at: 0, bytes: 'COWD' },
      { at: 0, bytes: '# Disk DescriptorFile' },
    ],
    advice: CONVERT,
  },
  { name: 'a VDI image', signatures: [{ at: 0x40, bytes: '\x7f\x10\xda\xbe' }], advice: CONVERT },
  { name: 'a VHDX image', signatures: [{ at: 0, bytes: 'vhdxfile' }], advice: CONVERT },
  {
    name: 'a VHD image',
    signatures: [
      { at: 0, bytes: 'conectix' },
      { at: -512, bytes: 'conectix' },
    ],
    advice: CONVERT,
  },
  { name: 'a QED image', signatures: [{ at: 0, bytes: 'QED\0' }], advice: CONVERT },
  {
    name: 'a Parallels image',
    signatures: [
      { at: 0, bytes: 'WithoutFreeSpace' },
      { at: 0, bytes: 'WithouFreSpacExt' },
    ],
    advice: CONVERT,
  },
  { name: 'a DMG image', signatures: [{ at: -512, bytes: 'koly' }], advice: CONVERT },
  { name: 'a tar archive (an OVA?)', signatures: [{ at: 257, bytes: 'ustar' }], advice: UNPACK },
  { name: 'compressed with gzip', signatures: [{ at: 0, bytes: '\x1f\x8b\x08' }], advice: UNPACK },
  { name: 'compressed with xz', signatures: [{ at: 0, bytes: '\xfd7zXZ\0' }], advice: UNPACK },
  { name: 'compressed with zstd', signatures: [{ at: 0, bytes: '\x28\xb5\x2f\xfd' }], advice: UNPACK },
  { name: 'compressed with bzip2', signatures: [{ at: 0, bytes: 'BZh91AY&SY' }], advice: UNPACK },
  { name: 'a zip archive', signatures: [{ at: 0, bytes: 'PK\x03\x04' }], advice: UNPACK },
]

const HEAD = 512

/**
 * Tells the format by what the file begins (and for some formats ends) with: raw is what nothing else claims.
 * Errors: `ERR_UNSUPPORTED` naming a format that drydisk does not edit.
 */
export async function detectFormat(storage: Storage): Promise<ImageFormat> {
  const head = new Uint8Array(Math.min(HEAD, storage.size))
  await storage.read(0, head)
  const tail = new Uint8Array(storage.size >= 2 * HEAD ? HEAD : 0)
  await storage.read(storage.size - tail.length, tail)
  for (const { name, signatures, advice } of OTHERS)
    for (const { at, bytes } of signatures)
      if (at >= 0 ? has(head, at, bytes) : has(tail, tail.length + at, bytes))
        throw new DrydiskError(
          'ERR_UNSUPPORTED',
          `${storage.name} is ${name}; drydisk edits raw and qcow2 images: ${advice}, or give the format as raw if it is one`,
          { path: storage.name },
        )
  return has(head, 0, 'QFI\xfb') ? 'qcow2' : 'raw'
}

function has(bytes: Uint8Array, at: number, wanted: string): boolean {
  if (at < 0 || at + wanted.length > bytes.length) return false
  for (let index = 0; index < wanted.length; index++) {
    if (bytes[at + index] !== wanted.charCodeAt(index)) return false
  }
  return true
}
