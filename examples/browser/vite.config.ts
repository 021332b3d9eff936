import { defineConfig } from 'vite'

export default defineConfig({
  // Any folder of any server will do.
  base: './',
  // In this checkout, drydisk/portable is what tsconfig.json says; a page of your own needs neither.
  resolve: { tsconfigPaths: true },
  build: { target: 'es2023' },
})
