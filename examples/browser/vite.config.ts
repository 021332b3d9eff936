import { defineConfig } from 'vite'

export default defineConfig({
  // Any folder of any server will do.
  base: './',
  // In this checkout, drydisk/portable is what tsconfig.json says; a page of your own needs neither.
  resolve: { tsconfigPaths: true },
  // While developing: its WebAssembly lies beside its modules, so these have to stay where they are.
  optimizeDeps: { exclude: ['@bokuweb/zstd-wasm'] },
  // What opens an image and every operation are one piece of half a megabyte, 180 kB packed.
  build: { target: 'es2023', chunkSizeWarningLimit: 700 },
})
