import type { Restructure } from './restructure.ts'

export async function moveBitmaps(_restructure: Restructure, _goal: number): Promise<boolean> {
  return false
}
