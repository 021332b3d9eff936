/** The unit of positions and lengths in the log and in what it refers to: 512 bytes, whatever the sector sizes are. */
export const BBSIZE = 512
