import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LruCache } from '../../src/bytes/lru-cache.ts'
import { RangeSet } from '../../src/bytes/range-set.ts'
import { propertySettings } from '../support/native.ts'

test('a RangeSet behaves as a set of integers and keeps its runs merged', () => {
  const step = fc.record({ add: fc.boolean(), start: fc.nat(60), length: fc.nat(12) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.nat(60), fc.nat(60), (steps, from, span) => {
      const set = new RangeSet()
      const model = new Set<number>()
      for (const { add, start, length } of steps) {
        if (add) set.add(start, start + length)
        else set.delete(start, start + length)
        for (let value = start; value < start + length; value++)
          if (add) model.add(value)
          else model.delete(value)
      }
      for (let value = 0; value < 80; value++) expect(set.has(value)).toBe(model.has(value))
      expect(set.total).toBe(model.size)
      const ranges = [...set.ranges()]
      for (const [index, range] of ranges.entries()) {
        expect(range.end).toBeGreaterThan(range.start)
        const next = ranges[index + 1]
        if (next) expect(next.start).toBeGreaterThan(range.end)
      }
      const window = Array.from({ length: span }, (_, index) => from + index)
      expect(set.covers(from, from + span)).toBe(window.every(value => model.has(value)))
      expect(set.intersects(from, from + span)).toBe(window.some(value => model.has(value)))
      let at = from
      for (const segment of set.segments(from, from + span)) {
        expect(segment.start).toBe(at)
        for (let value = segment.start; value < segment.end; value++)
          expect(model.has(value)).toBe(segment.inside)
        at = segment.end
      }
      expect(at).toBe(from + span)
    }),
    propertySettings(300),
  )
})

test('an LruCache drops what was used longest ago', () => {
  const evicted: string[] = []
  const cache = new LruCache<string, number>(3, key => evicted.push(key))
  cache.set('a', 1)
  cache.set('b', 2)
  cache.set('c', 3)
  expect(cache.get('a')).toBe(1)
  cache.set('d', 4)
  expect(evicted).toEqual(['b'])
  cache.set('e', 5, 3)
  expect(evicted).toEqual(['b', 'c', 'a', 'd'])
  expect([...cache.entries()]).toEqual([['e', 5]])
  expect(cache.weight).toBe(3)
  cache.set('f', 6, 100)
  expect([...cache.entries()]).toEqual([['f', 6]])
})
