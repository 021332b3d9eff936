import { bigEndian, littleEndian } from '../bytes/byte-view.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'
import type { ByteRange } from './filesystem.ts'

/** What ends the first page of a swap area. */
export interface SwapSignature {
  /** As text; `TuxOnIce` for its eight bytes. */
  readonly signature: string
  /** Bytes of a page of the machine that made it: the signature is in the last ten. */
  readonly pageSize: number
  /**
   * `swap`: what is in the pages is worth nothing once the machine is off. `hibernation`: it is the memory of a machine that
   * means to go on. `old`: version 0, whose header has no length.
   */
  readonly kind: 'swap' | 'hibernation' | 'old'
}

const PAGE_SIZES = [4096, 8192, 16_384, 32_768, 65_536] as const
const SIGNATURE_SIZE = 10
/** union swap_header (linux/swap.h): after 1024 bytes for a boot loader. */
const INFO_AT = 1024
const BADPAGES_AT = 1536
const VERSION = 1

/** Signatures that replace that of swap while a machine sleeps: the kernel's, uswsusp's, and those that libblkid knows. */
const HIBERNATION = ['S1SUSPEND', 'S2SUSPEND', 'ULSUSPEND', 'LINHIB0001'] as const
const TUX_ON_ICE = '\xed\xc3\x02\xe9\x98\x56\xe5\x0c'

function kindOf(signature: string): Pick<SwapSignature, 'signature' | 'kind'> | undefined {
  if (signature === 'SWAPSPACE2') return { signature, kind: 'swap' }
  if (signature === 'SWAP-SPACE') return { signature, kind: 'old' }
  const known = HIBERNATION.find(name => signature.startsWith(name))
  if (known !== undefined) return { signature: known, kind: 'hibernation' }
  return signature.startsWith(TUX_ON_ICE) ? { signature: 'TuxOnIce', kind: 'hibernation' } : undefined
}

/** Looks for a swap area or a hibernated machine's memory; `undefined` when the volume is neither. */
export async function findSwap(device: BlockDevice): Promise<SwapSignature | undefined> {
  const bytes = new Uint8Array(SIGNATURE_SIZE)
  for (const pageSize of PAGE_SIZES) {
    if (pageSize > device.size) return undefined
    await device.read(pageSize - SIGNATURE_SIZE, bytes)
    const kind = kindOf(String.fromCharCode(...bytes))
    if (kind !== undefined) return { ...kind, pageSize }
  }
  return undefined
}

/**
 * The content of a swap area: all its pages but the first, which has its label, its uuid, the list of its bad pages and room
 * for a boot loader. What lies behind the last page is not the area's.
 * Errors: `ERR_CORRUPT` for a header that the kernel would not take, `ERR_UNSUPPORTED` for what is no swap of version 1.
 */
export async function swapContent(device: BlockDevice, found: SwapSignature): Promise<ByteRange> {
  const { pageSize } = found
  if (found.kind === 'hibernation')
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `the volume holds the memory of a hibernated machine (${found.signature}); resume it and shut it down`,
      { signature: found.signature },
    )
  if (found.kind === 'old')
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      'the swap area is of version 0, which no kernel since 2.6 takes; run mkswap again',
      { signature: found.signature },
    )
  const page = new Uint8Array(pageSize)
  await device.read(0, page)
  // Written in the byte order of the machine that made it, and read in either (read_swap_header in mm/swapfile.c).
  const little = littleEndian(page, 'swap header')
  const view = little.u32(INFO_AT) === VERSION ? little : bigEndian(page, 'swap header')
  const version = view.u32(INFO_AT)
  const lastPage = view.u32(INFO_AT + 4)
  const badPages = view.u32(INFO_AT + 8)
  if (version !== VERSION) throw corrupt(`its version is ${version}, expected ${VERSION}`)
  const pages = Math.floor(device.size / pageSize)
  if (lastPage === 0 || lastPage >= pages)
    throw corrupt(`its last page is ${lastPage}, expected 1 to ${pages - 1}`)
  const mostBad = Math.floor((pageSize - BADPAGES_AT - SIGNATURE_SIZE) / 4)
  if (badPages > mostBad) throw corrupt(`it lists ${badPages} bad pages, expected at most ${mostBad}`)
  return { offset: pageSize, length: lastPage * pageSize }
}

function corrupt(what: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `the swap area has a damaged header: ${what}; run mkswap again`, {
    structure: 'swap header',
  })
}
