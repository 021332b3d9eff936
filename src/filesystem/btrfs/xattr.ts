import { equalBytes } from '../../bytes/compare.ts'
import { byteKey, decodeUtf8, toBytes } from '../../bytes/names.ts'
import { nameHash, parseDirItems } from './dir-item.ts'
import { ITEM, MOST } from './key.ts'
import type { Tree } from './tree.ts'

/** Names are stored whole, with their namespace, and values as getxattr(2) gives them. */
export async function listXattrs(tree: Tree, objectid: bigint): Promise<string[]> {
  const key = (offset: bigint) => ({ objectid, type: ITEM.XATTR_ITEM, offset })
  const names: string[] = []
  for await (const { data } of tree.range(key(0n), key(MOST)))
    for (const { name } of parseDirItems(data)) names.push(decodeUtf8(name) ?? byteKey(name))
  return names
}

export async function getXattr(tree: Tree, objectid: bigint, name: string): Promise<Uint8Array | undefined> {
  const bytes = toBytes(name)
  const data = await tree.find({ objectid, type: ITEM.XATTR_ITEM, offset: nameHash(bytes) })
  return (
    data &&
    parseDirItems(data)
      .find(item => equalBytes(item.name, bytes))
      ?.data.slice()
  )
}
