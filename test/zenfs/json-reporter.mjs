/** What node:test tells, a line of JSON for each test. */
export default async function* reporter(source) {
  for await (const { type, data } of source)
    if (type === 'test:pass' || type === 'test:fail') {
      const error = data.details?.error
      const cause = error?.cause ?? error
      yield `${JSON.stringify({
        passed: type === 'test:pass',
        name: data.name,
        file: data.file,
        nesting: data.nesting,
        skip: data.skip,
        todo: data.todo,
        suite: data.details?.type === 'suite',
        failure: error?.failureType,
        error: cause === undefined ? undefined : String(cause.message ?? cause),
      })}\n`
    }
}
