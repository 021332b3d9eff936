// Edits many images by one recipe, each in one commit of its own: node apply-to-many.js RECIPE HOSTNAME IMAGE...
import { apply } from 'drydisk'

const [recipe = 'site.yaml', name = 'web1', ...images] = process.argv.slice(2)
const results = await apply(recipe, images, {
  variables: { HOSTNAME: name },
  jobs: 2,
  keepGoing: true,
  onProgress: ({ image, status, done, total }) => console.log(`${image}: ${status}, ${done} of ${total}`),
})
for (const result of results)
  if (result.status === 'failed') console.error(`${result.image} is as it was:`, result.error)
process.exitCode = results.every(({ status }) => status === 'done') ? 0 : 1
