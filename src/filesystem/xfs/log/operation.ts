/** Linux, xfs_log_format.h: struct xlog_op_header, before each region in a record. */
export const OP_HEADER_SIZE = 12

/** Whose an operation is: a transaction's, or one of the log itself. */
export const OP_CLIENT = { TRANSACTION: 0x69, LOG: 0xaa } as const

/** XLOG_*_TRANS: what it is to its transaction. */
export const OP = {
  START: 0x01,
  COMMIT: 0x02,
  CONTINUE: 0x04,
  WAS_CONT: 0x08,
  END: 0x10,
  UNMOUNT: 0x20,
} as const
