/**
 * The NBD protocol (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md), fixed newstyle with structured replies.
 * All numbers are big-endian.
 */

/** What a server says first, and the magic number of each option. */
export const NBDMAGIC = 0x4e42_444d_4147_4943n
export const IHAVEOPT = 0x4948_4156_454f_5054n
export const OPTION_REPLY = 0x3_e889_0455_65a9n
export const REQUEST = 0x2560_9513
export const SIMPLE_REPLY = 0x6744_6698
export const STRUCTURED_REPLY = 0x668e_33ef

/** NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES; the client's flags have the same values. */
export const HANDSHAKE = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const

/** NBD_OPT_* */
export const OPTION = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const

/** NBD_REP_*; errors have the highest bit. */
export const REPLY = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_POLICY: 0x8000_0002,
  ERR_INVALID: 0x8000_0003,
  ERR_TLS_REQD: 0x8000_0005,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_SHUTDOWN: 0x8000_0007,
  ERR_BLOCK_SIZE_REQD: 0x8000_0008,
  ERR_TOO_BIG: 0x8000_0009,
} as const
export const REPLY_ERROR = 0x8000_0000

/** NBD_INFO_* */
export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const

/** NBD_FLAG_* of an export. */
export const EXPORT = {
  HAS_FLAGS: 1,
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_TRIM: 32,
  SEND_WRITE_ZEROES: 64,
  SEND_DF: 128,
  CAN_MULTI_CONN: 256,
} as const

/** NBD_CMD_* */
export const COMMAND = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const

/** NBD_CMD_FLAG_* */
export const COMMAND_FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16 } as const

/** NBD_REPLY_FLAG_DONE and NBD_REPLY_TYPE_* */
export const CHUNK_DONE = 1
export const CHUNK = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const
export const CHUNK_ERROR = 0x8000

/** The one metadata context that all servers know, and what its flags say (NBD_STATE_*). */
export const BASE_ALLOCATION = 'base:allocation'
export const STATE = { HOLE: 1, ZERO: 2 } as const

/** NBD_E*: the values of Linux. */
export const NBD_ERROR = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const

/** Bytes of one request's content that all servers and clients take when nothing else was said. */
export const MOST_PAYLOAD = 32 << 20
/** Bytes of an option or of its reply: names have 4096 at most. */
export const MOST_OPTION = 64 << 10
/** Bytes of a name. */
export const MOST_NAME = 4096
